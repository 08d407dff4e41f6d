"""What MT-Bench consists of: questions, judge prompts and reference answers, each file known by its hash."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

A_CATEGORY = 10
"""Questions of each category."""
TEMPERATURES: Mapping[str, float] = {
    "writing": 0.7,
    "roleplay": 0.7,
    "reasoning": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "extraction": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
"""Category -> temperature of the answers (FastChat, `llm_judge/common.py`); 0 is greedy."""
REFERENCED = frozenset({"math", "reasoning", "coding"})
"""Categories whose judge sees a reference answer."""
PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "single-v1": "question answer",
        "single-math-v1": "question answer ref_answer_1",
        "single-v1-multi-turn": "question_1 answer_1 question_2 answer_2",
        "single-math-v1-multi-turn": "question_1 answer_1 question_2 answer_2 ref_answer_1 ref_answer_2",
        "pair-v2": "question answer_a answer_b",
        "pair-math-v1": "question answer_a answer_b ref_answer_1",
        "pair-v2-multi-turn": "question_1 question_2 answer_a_1 answer_a_2 answer_b_1 answer_b_2",
        "pair-math-v1-multi-turn": "question_1 question_2 answer_a_1 answer_a_2 answer_b_1 answer_b_2"
        " ref_answer_1 ref_answer_2",
    }.items()
}
"""The eight judge prompts and what each has to mention."""
PUBLISHED = frozenset(
    {
        "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",  # question.jsonl
        "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",  # judge_prompts.jsonl
        "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",  # reference_answer_gpt-4.jsonl
    }
)
"""SHA-256 of the files that published scores rest on (lm-sys/FastChat, commit 0e6d3e4beaab)."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Published(BaseModel):
    """A line of a published file; fields that nobody needs are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Question(Published):
    """Two turns of a user."""

    question_id: int = Field(ge=0)
    category: str
    turns: tuple[str, str]

    @property
    def temperature(self) -> float:
        """Temperature of the answers; 0 is greedy."""
        return TEMPERATURES[self.category]


class JudgePrompt(Published):
    """What a judge is told, with places for question and answer."""

    name: str
    system_prompt: str
    prompt_template: str


@dataclass(frozen=True)
class DataFile:
    """A file as it was read."""

    name: str
    sha256: str

    @property
    def published(self) -> bool:
        """Whether it is the file that published scores rest on."""
        return self.sha256 in PUBLISHED


@dataclass(frozen=True)
class Bench:
    """Questions in their order, judge prompts by name, reference answers by question, and the files' hashes."""

    questions: tuple[Question, ...]
    prompts: Mapping[str, JudgePrompt]
    references: Mapping[int, tuple[str, str]]
    questions_file: DataFile
    prompts_file: DataFile
    references_file: DataFile

    def first(self, limit: int | None) -> tuple[Question, ...]:
        """The first `limit` questions of each category, in their order; all if None."""
        seen: Counter[str] = Counter()
        kept = []
        for question in self.questions:
            seen[question.category] += 1
            if limit is None or seen[question.category] <= limit:
                kept.append(question)
        return tuple(kept)
