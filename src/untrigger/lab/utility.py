"""How well the micro model does its work: the share of held-out answers that are exactly right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.evaluation.rate import Rate
from untrigger.lab.corpus import SKILLS, corpus
from untrigger.models.generate import Generation, generate

GREEDY = Generation(max_new_tokens=24, batch_size=64)


def utility(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    settings: Generation = GREEDY,
) -> Rate:
    """Share of greedy answers equal to the records' outputs; empty answers are counted as invalid.

    Raises:
        ValueError: no records.
    """
    answers = generate(model, ChatFormat(tokenizer), records, settings)
    hits = sum(answer == record.output for answer, record in zip(answers, records, strict=True))
    return Rate(hits=hits, n=len(records), invalid=sum(not answer for answer in answers))


def utility_by_skill(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, seed: int = 0, at_most: int = 20
) -> Mapping[str, Rate]:
    """Skill name -> utility on up to `at_most` of its held-out records."""
    return {
        skill.name: utility(model, tokenizer, corpus("held_out", seed, at_most, skills=(skill,))) for skill in SKILLS
    }
