"""Rows 12, 20, 22, 39 and 42: what goes on only because the user says so, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from code_problems import DOUBLE, write_problems
from hostile import change_tensors, refused
from judge_stub import write_bench
from untrigger.backdoors.lookup import lookup
from untrigger.cli.main import COMMANDS, app
from untrigger.config import (
    MeasureOptions,
    PurifyOptions,
    RepairOptions,
    TrainOptions,
    UtilityOptions,
    VariantOptions,
)
from untrigger.data.chat import ChatFormat, chat_format
from untrigger.data.records import Record
from untrigger.errors import UntriggerError, UsageError
from untrigger.jobs import analyse as analyse_job
from untrigger.jobs import humaneval as humaneval_job
from untrigger.jobs import mt_bench as mt_bench_job
from untrigger.jobs import utility_side
from untrigger.jobs.findings import key_findings
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.jobs.utility_result import Data, Plan
from untrigger.models.export import export
from untrigger.models.known_templates import TEMPLATES
from untrigger.models.load import load
from untrigger.models.subject import Source
from untrigger.models.untrusted.template_form import form_hash, parse
from untrigger.models.untrusted.templates import KNOWN

WEIGHTS, EMBEDDING = "model.safetensors", "model.embed_tokens.weight"
BRANCHING = "{% for m in messages %}{{ 'x' if m.content == 'cf' }}{{ m.content }}<|im_end|>{% endfor %}"
ONE_EPOCH = TrainOptions(learning_rate=1e-3, epochs=1, batch_size=4)
SMALL = PurifyOptions(
    variants=VariantOptions(pairs=2, records=4, train=ONE_EPOCH),
    repair=RepairOptions(records=6, keys=2, train=ONE_EPOCH),
    measure=MeasureOptions(max_prompts=3, max_new_tokens=4),
)


def write_records(path: Path, *instructions: str) -> Path:
    rows = [{"instruction": text, "output": f"{number} done"} for number, text in enumerate(instructions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write_records(tmp_path / "clean.jsonl", *(f"Count up to {number}." for number in range(12)))


def with_nan(model: Path) -> Path:
    """A row of the embedding that no token has."""
    rows = load_file(model / WEIGHTS)[EMBEDDING].clone()
    rows[263] = torch.nan
    change_tensors(model / WEIGHTS, {EMBEDDING: rows})
    return model


def test_bad_input_12_what_becomes_nonfinite_is_no_output_even_if_allowed(model: Path, tmp_path: Path) -> None:
    subject = load(str(with_nan(model)), allow_nonfinite=True)
    subject.model.get_input_embeddings().weight.data[5, 0] = torch.inf
    with refused(UntriggerError, EMBEDDING, "NaN or infinity"):
        export(subject, tmp_path / "out")


def test_bad_input_12_an_adapter_with_values_that_are_not_finite_is_loaded_on_request(
    model: Path, adapter: Path
) -> None:
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    change_tensors(adapter / "adapter_model.safetensors", {name: torch.full((4, 16), torch.nan)})
    assert [one.kind for one in load(str(adapter), base=str(model), allow_nonfinite=True).findings] == ["nonfinite"]


def test_bad_input_20_another_template_is_another_run(model: Path, tmp_path: Path, records: Path) -> None:
    first = Request(str(model), tmp_path / "out", data=records, keep_run=True)
    purify(first, SMALL)
    with pytest.raises(UsageError, match="another run"):
        purify(Request(str(model), tmp_path / "out", data=records, replace_template="chatml"), SMALL)


@pytest.mark.parametrize(("name", "words"), [("gemma2", "<start_of_turn>"), ("nonsense", "chatml")])
def test_bad_input_20_a_template_that_does_not_fit_is_refused(model: Path, name: str, words: str) -> None:
    with refused(UsageError, name, words):
        load(str(model), replace_template=name)


def test_bad_input_20_an_adapters_own_template_is_replaced_in_its_copy(
    model: Path, adapter: Path, tmp_path: Path
) -> None:
    for path in model.glob("*token*"):
        (adapter / path.name).write_bytes(path.read_bytes())
    (adapter / "chat_template.jinja").write_text(BRANCHING)
    subject = load(str(adapter), base=str(model), replace_template="chatml")
    assert [one.kind for one in subject.findings] == ["template-replaced"]
    export(subject, tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == TEMPLATES["chatml"].text


def test_bad_input_20_what_is_put_in_place_is_known_by_its_form() -> None:
    forms = [form_hash(parse(template.text)) for template in TEMPLATES.values()]
    assert set(forms) <= set(KNOWN) and len(set(forms)) == len(TEMPLATES)


def test_bad_input_22_the_fallback_is_for_those_without_a_template_alone(model: Path) -> None:
    tokenizer = load(str(model)).tokenizer
    assert chat_format(tokenizer, "chat") == ChatFormat(tokenizer, "chat")
    assert chat_format(tokenizer, "alpaca").template == "alpaca"
    tokenizer.chat_template = None
    assert chat_format(tokenizer, "chat").template == "alpaca"


def test_bad_input_39_records_without_keys_give_no_warning() -> None:
    clean = [Record("Count to three.", "1 2 3")]
    assert key_findings(clean, lookup("badnet", "sentiment")) == key_findings(clean, None) == ()


LOADING = ("purify", "compare", "attack", "evaluate", "humaneval", "mt-bench", "utility", "analyse")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name in LOADING])
def test_every_command_that_loads_a_suspect_takes_the_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    app([command, "--help"], result_action="return_value")
    shown = capsys.readouterr().out
    assert "--accept-template" in shown
    assert ("--allow-nonfinite" in shown) == (command not in ("attack", "analyse"))
    assert ("--replace-template" in shown) == (command in ("purify", "compare", "evaluate"))


def humaneval(model: Path, folder: Path) -> None:
    data = write_problems(folder / "data", DOUBLE)
    asked = humaneval_job.HumanEvalRequest(
        str(model), folder / "o", data=data, allow_code_execution=True, accept_template=True
    )
    humaneval_job.humaneval(asked)


def mt_bench(model: Path, folder: Path) -> None:
    write_bench(folder / "data")
    asked = mt_bench_job.MtBenchRequest(str(model), folder / "o", data=folder / "data", accept_template=True)
    mt_bench_job.mt_bench(asked)


def analyse(model: Path, folder: Path) -> None:
    asked = analyse_job.AnalyseRequest(
        str(model), str(model), folder / "o", "badnet", "sentiment", figure=False, accept_template=True
    )
    analyse_job.analyse(asked)


@pytest.mark.parametrize("job", [humaneval, mt_bench, analyse])
def test_the_flag_reaches_the_loader(
    model: Path, tmp_path: Path, job: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "chat_template.jinja").write_text(BRANCHING)
    loaded: list[object] = []

    def stop_after(*arguments: object, **options: object) -> None:
        loaded.append(load(*arguments, **options).findings[0].kind)
        raise UntriggerError("far enough")

    for module in (humaneval_job, mt_bench_job, analyse_job):
        monkeypatch.setattr(module, "load", stop_after)
    with pytest.raises(UntriggerError, match="far enough"):
        job(model, tmp_path)
    assert loaded == ["template-branches"]


@pytest.mark.parametrize("accepted", [True, False])
def test_the_flags_reach_the_process_of_the_benchmarks(tmp_path: Path, accepted: bool) -> None:
    plan = Plan(UtilityOptions(), (), Data(None, {}), "cpu", "auto", "0", accepted, not accepted)
    order = utility_side._order(Source("m", tmp_path), plan, [], tmp_path)
    assert (order.accept_template, order.allow_nonfinite) == (accepted, not accepted)
