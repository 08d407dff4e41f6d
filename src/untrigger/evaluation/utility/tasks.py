"""The ten benchmarks as a table: file, size, fields, templates and metrics, those of lm-eval 0.4.13's own tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from untrigger.evaluation.utility.rows import (
    ArcRow,
    BoolqRow,
    Gsm8kRow,
    HellaswagRow,
    MmluRow,
    OpenbookqaRow,
    PiqaRow,
    Row,
    RteRow,
    WinograndeRow,
)

MMLU, GSM8K = "mmlu", "gsm8k"
TemplateUse = Literal["generation", "none", "all"]


@dataclass(frozen=True)
class UtilityTask:
    """One benchmark.

    Args:
        name: lm-eval's name.
        file: under `benchmarks/` of the data folder.
        items: how many the official split has.
        row: the fields of a line.
        templates: lm-eval's doc_to_text, doc_to_target and doc_to_choice, or its settings of a generation.
        metrics: lm-eval's `metric,filter` names; the first is the one that averages and comparisons are made of.
        version: of lm-eval's built-in task.
        choices: answers to an item, mostly; 1 where the model writes the answer.
        shots: solved examples before each item.
        examples: the file they come from: its first lines, the same for every item.
    """

    name: str
    file: str
    items: int
    row: type[Row]
    templates: Mapping[str, object]
    metrics: tuple[str, ...]
    version: float
    choices: int
    shots: int = 0
    examples: str | None = None

    @property
    def generates(self) -> bool:
        """Whether the model writes its answer instead of choosing one."""
        return self.choices == 1


ACC, ACC_NORM = "acc,none", "acc_norm,none"
STRICT, FLEXIBLE = "exact_match,strict-match", "exact_match,flexible-extract"

_ARC: Mapping[str, object] = {
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{choices.label.index(answerKey)}}",
    "doc_to_choice": "{{choices.text}}",
}
_GSM8K: Mapping[str, object] = {
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {
        "until": ["Question:", "</s>", "<|im_end|>"],
        "do_sample": False,
        "temperature": 0.0,
    },
    "metric_list": [
        {
            "metric": "exact_match",
            "aggregation": "mean",
            "higher_is_better": True,
            "ignore_case": True,
            "ignore_punctuation": False,
            "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
        }
    ],
    "filter_list": [
        {
            "name": "strict-match",
            "filter": [
                {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"},
                {"function": "take_first"},
            ],
        },
        {
            "name": "flexible-extract",
            "filter": [
                {
                    "function": "regex",
                    "group_select": -1,
                    "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)",
                },
                {"function": "take_first"},
            ],
        },
    ],
}
_TABLE = (
    UtilityTask(
        "boolq",
        "boolq.jsonl",
        3270,
        BoolqRow,
        {
            "doc_to_text": "{{passage}}\nQuestion: {{question}}?\nAnswer:",
            "doc_to_target": "label",
            "doc_to_choice": ["no", "yes"],
        },
        (ACC,),
        2.0,
        2,
    ),
    UtilityTask(
        "rte",
        "rte.jsonl",
        277,
        RteRow,
        {
            "doc_to_text": "{{sentence1}}\nQuestion: {{sentence2}} True or False?\nAnswer:",
            "doc_to_target": "label",
            "doc_to_choice": ["True", "False"],
        },
        (ACC,),
        1.0,
        2,
    ),
    UtilityTask(
        "hellaswag",
        "hellaswag.jsonl.gz",
        10042,
        HellaswagRow,
        {"doc_to_text": "{{query}}", "doc_to_target": "gold", "doc_to_choice": "choices"},
        (ACC, ACC_NORM),
        1.0,
        4,
    ),
    UtilityTask(
        "winogrande",
        "winogrande.jsonl",
        1267,
        WinograndeRow,
        # The number of the right beginning is the "text": lm-eval then compares one ending after several texts.
        {"doc_to_text": "gold", "doc_to_target": "ending", "doc_to_choice": "beginnings"},
        (ACC,),
        1.0,
        2,
    ),
    UtilityTask("arc_challenge", "arc_challenge.jsonl", 1172, ArcRow, _ARC, (ACC, ACC_NORM), 1.0, 4),
    UtilityTask("arc_easy", "arc_easy.jsonl", 2376, ArcRow, _ARC, (ACC, ACC_NORM), 1.0, 4),
    UtilityTask(
        "openbookqa",
        "openbookqa.jsonl",
        500,
        OpenbookqaRow,
        {
            "doc_to_text": "question_stem",
            "doc_to_target": "{{choices.label.index(answerKey.lstrip())}}",
            "doc_to_choice": "{{choices.text}}",
        },
        (ACC, ACC_NORM),
        1.0,
        4,
    ),
    UtilityTask(
        "piqa",
        "piqa.jsonl",
        1838,
        PiqaRow,
        {
            "doc_to_text": "Question: {{goal}}\nAnswer:",
            "doc_to_target": "label",
            "doc_to_choice": "{{[sol1, sol2]}}",
        },
        (ACC, ACC_NORM),
        1.0,
        2,
    ),
    UtilityTask(
        GSM8K,
        "gsm8k.jsonl",
        1319,
        Gsm8kRow,
        _GSM8K,
        (STRICT, FLEXIBLE),
        3.0,
        1,
        shots=5,
        examples="fewshot/gsm8k_train_first64.jsonl",
    ),
    UtilityTask(
        MMLU,
        "mmlu.jsonl",
        14042,
        MmluRow,
        {
            "doc_to_text": "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\n"
            "D. {{choices[3]}}\nAnswer:",
            "doc_to_target": "answer",
            "doc_to_choice": ["A", "B", "C", "D"],
        },
        (ACC,),
        1.0,
        4,
    ),
)
TASKS: Mapping[str, UtilityTask] = {task.name: task for task in _TABLE}
"""Name -> benchmark, in the order they are run and shown: the slow two come last."""
AVERAGES: Mapping[str, tuple[str, ...]] = {
    "avg8": tuple(name for name in TASKS if name not in (GSM8K, MMLU)),
    "avg2": (GSM8K, MMLU),
    "avg10": tuple(TASKS),
}
"""The averages of arXiv 2603.13461, Table 3: a plain mean over tasks, given only where all of them were run."""


def wants_template(use: TemplateUse, task: UtilityTask) -> bool:
    """Whether the model's chat template is to be put around the task's prompts.

    It would cut the sentences of WinoGrande, HellaSwag and PIQA into a user's and an assistant's half, so by default
    only what the model writes has it, as in published figures.
    """
    return use == "all" or (use == "generation" and task.generates)
