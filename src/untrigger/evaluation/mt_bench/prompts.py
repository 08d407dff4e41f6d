"""What the judge is asked: one system and one user message, exactly as published."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from pydantic import JsonValue

from untrigger.config import JudgeOptions
from untrigger.evaluation.mt_bench.answers import AnswerLine
from untrigger.evaluation.mt_bench.questions import PLACEHOLDER, REFERENCED, Bench, JudgePrompt, Question

Mode = Literal["single", "pairwise"]
Turn = Literal[1, 2]
TURNS: tuple[Turn, Turn] = (1, 2)


@dataclass(frozen=True)
class Ask:
    """One call: the judge prompt's name, filled in for one turn of a question; `model` names who answered."""

    question_id: int
    turn: Turn
    prompt: str
    model: str
    system: str
    user: str


@dataclass(frozen=True)
class Cell:
    """A turn of a question: what the bench scores. `asks` is empty if an answer is missing.

    A single judgement has one call; a pairwise one has two, the second with the sides swapped.
    """

    question_id: int
    category: str
    turn: Turn
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Call:
    """How a judge is called: where, which model, with which parameters."""

    base_url: str
    model: str
    options: JudgeOptions

    def body(self, ask: Ask) -> bytes:
        """The request in JSON, ASCII: messages, n = 1, temperature and longest length."""
        system, user = ask.system, ask.user
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        if self.options.fold_system:
            messages = [{"role": "user", "content": f"{system.rstrip()}\n\n{user}"}]
        asked = {
            "model": self.model,
            "messages": messages,
            "n": 1,
            "temperature": self.options.temperature,
            self.options.length_field: self.options.max_tokens,
        }
        return json.dumps(asked, ensure_ascii=True, sort_keys=True).encode()

    def parameters(self) -> dict[str, JsonValue]:
        """What of the options shapes a judgement."""
        shaping = {"temperature", "max_tokens", "length_field", "fold_system"}
        return self.options.model_dump(mode="json", include=shaping)

    def request(self, ask: Ask) -> str:
        """SHA-256 of address and request: equal ones are asked once."""
        return sha256(self.base_url.encode() + b"\n" + self.body(ask)).hexdigest()


def single_cells(bench: Bench, questions: Iterable[Question], answers: Mapping[int, AnswerLine]) -> list[Cell]:
    """Both turns of every question, each to be rated alone."""
    return [
        Cell(question.question_id, question.category, turn, tuple(_single(bench, question, answers, turn)))
        for question in questions
        for turn in TURNS
    ]


def pair_cells(
    bench: Bench,
    questions: Iterable[Question],
    baseline: Mapping[int, AnswerLine],
    answers: Mapping[int, AnswerLine],
) -> list[Cell]:
    """Both turns of every question; the baseline is assistant A in the first call and B in the second."""
    return [
        Cell(question.question_id, question.category, turn, tuple(_pairs(bench, question, baseline, answers, turn)))
        for question in questions
        for turn in TURNS
    ]


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its places filled in; what stands in the values is never read as a place."""
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _single(bench: Bench, question: Question, answers: Mapping[int, AnswerLine], turn: Turn) -> Iterator[Ask]:
    answer = answers[question.question_id]
    if len(answer.turns) < turn:
        return
    prompt = bench.prompts[_name("single-v1", "single-math-v1", question, turn)]
    values = {"answer": answer.turns[0], **_numbered("answer_", answer.turns)}
    yield _ask(bench, question, turn, prompt, answer.model_id, values)


def _pairs(
    bench: Bench,
    question: Question,
    baseline: Mapping[int, AnswerLine],
    answers: Mapping[int, AnswerLine],
    turn: Turn,
) -> Iterator[Ask]:
    first, second = baseline[question.question_id], answers[question.question_id]
    if min(len(first.turns), len(second.turns)) < turn:
        return
    prompt = bench.prompts[_name("pair-v2", "pair-math-v1", question, turn)]
    for a, b in ((first, second), (second, first)):
        values = {"answer_a": a.turns[0], "answer_b": b.turns[0]}
        values |= _numbered("answer_a_", a.turns) | _numbered("answer_b_", b.turns)
        yield _ask(bench, question, turn, prompt, f"{a.model_id} | {b.model_id}", values)


def _name(general: str, referenced: str, question: Question, turn: Turn) -> str:
    name = referenced if question.category in REFERENCED else general
    return name if turn == 1 else f"{name}-multi-turn"


def _ask(
    bench: Bench, question: Question, turn: Turn, prompt: JudgePrompt, model: str, answers: Mapping[str, str]
) -> Ask:
    values = {"question": question.turns[0], **_numbered("question_", question.turns), **answers}
    if question.category in REFERENCED:
        values |= _numbered("ref_answer_", bench.references[question.question_id])
    user = filled(prompt.prompt_template, values)
    return Ask(question.question_id, turn, prompt.name, model, prompt.system_prompt, user)


def _numbered(start: str, texts: Iterable[str]) -> dict[str, str]:
    return {f"{start}{number}": text for number, text in enumerate(texts, start=1)}
