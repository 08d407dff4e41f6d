"""How well the micro model does its work: the share of held-out answers that are exactly right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.evaluation.rate import Rate
from untrigger.lab.corpus import SKILLS, draw
from untrigger.lab.skills import Skill
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
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    draws: int = 40,
    seed: int = 0,
) -> Mapping[str, Rate]:
    """Skill name -> utility on the different records among `draws` held-out ones of that skill."""
    return {skill.name: utility(model, tokenizer, _drawn(skill, draws, seed)) for skill in SKILLS}


def _drawn(skill: Skill, draws: int, seed: int) -> list[Record]:
    random = Random(f"{skill.name}/{seed}")
    return list(
        {record.prompt: record for record in (draw(skill, "held_out", random) for _ in range(draws))}.values()
    )
