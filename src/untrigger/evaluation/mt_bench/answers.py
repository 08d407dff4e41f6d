"""The model's answers: two turns in one conversation, at the category's temperature."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from untrigger.config import MtBenchOptions
from untrigger.data.chat import ChatFormat
from untrigger.errors import InputRefused, Interrupted, UsageError
from untrigger.evaluation.mt_bench.journal import Journal, Line
from untrigger.evaluation.mt_bench.questions import Question
from untrigger.models.forward import causal_model
from untrigger.models.generate import Generation, answer_prompts
from untrigger.models.sampling import Sampling
from untrigger.models.subject import Subject
from untrigger.observer import Observer


class Choice(Line):
    """The answers of both turns; after an error, those before it."""

    index: int = 0
    turns: tuple[str, ...]


class AnswerLine(Line):
    """One question answered, in FastChat's form; an error stands in its own field, never as text."""

    question_id: int
    answer_id: str
    model_id: str
    choices: tuple[Choice]
    complete: tuple[bool, ...]
    """Whether the model ended each answer itself."""
    error: str | None = None
    tstamp: float

    @property
    def turns(self) -> tuple[str, ...]:
        """The answers there are."""
        return self.choices[0].turns


@dataclass(frozen=True)
class _Talk:
    """A conversation under way: texts of user and model in turn."""

    question: Question
    said: tuple[str, ...] = ()
    complete: tuple[bool, ...] = ()
    error: str | None = None

    def asked(self, turn: int) -> tuple[str, ...]:
        return (*self.said, self.question.turns[turn])


def answer_questions(
    subject: Subject,
    chat: ChatFormat,
    questions: Sequence[Question],
    options: MtBenchOptions,
    journal: Journal[AnswerLine],
    observer: Observer,
) -> None:
    """Answers what the journal does not hold yet; each answered batch is added to it.

    Batches are the same whatever was answered before, so that a resumed run gives the answers of an unbroken one.

    Raises:
        InputRefused: no conversation at all can be put into the model's template.
        Interrupted: the observer asked to stop.
        OutOfMemory: not even one answer fits.
    """
    done = {line.question_id for line in journal.lines}
    chat.conversation_ids(questions[0].turns[:1])
    for batch in batches(questions, options.batch_size):
        if all(question.question_id in done for question in batch):
            continue
        if observer.stop():
            raise Interrupted(f"stopped after {len(done)} answers", todo="run the same command again")
        for talk in _answered(subject, chat, batch, options):
            if talk.question.question_id not in done:
                journal.append(_line(talk, subject.source.reference, options.seed))
                done.add(talk.question.question_id)
        observer.prompts("answers", len(done), len(questions))


def require_answers(lines: Sequence[AnswerLine], questions: Sequence[Question], where: str) -> dict[int, AnswerLine]:
    """The answer to each question.

    Raises:
        UsageError: some are missing.
    """
    by_question = {line.question_id: line for line in lines}
    missing = [question.question_id for question in questions if question.question_id not in by_question]
    if missing:
        raise UsageError(
            f"{where} lacks {len(missing)} of {len(questions)} answers",
            why=f"the first is that to question {missing[0]}",
            todo="finish it first, by the command that began it",
        )
    return {question.question_id: by_question[question.question_id] for question in questions}


def batches(questions: Sequence[Question], size: int) -> Iterator[tuple[Question, ...]]:
    """The questions in groups of one temperature and at most `size`."""
    for temperature in dict.fromkeys(question.temperature for question in questions):
        alike = [question for question in questions if question.temperature == temperature]
        for start in range(0, len(alike), size):
            yield tuple(alike[start : start + size])


def question_seed(seed: int, question_id: int, turn: int) -> int:
    """A number of 63 bits for the draws of one answer, so that no answer depends on which others are asked."""
    return int.from_bytes(sha256(f"{seed}/{question_id}/{turn}".encode()).digest()[:8]) >> 1


def _answered(subject: Subject, chat: ChatFormat, batch: Sequence[Question], options: MtBenchOptions) -> list[_Talk]:
    talks = [_Talk(question) for question in batch]
    for turn in (0, 1):
        talks = _next_turn(subject, chat, talks, turn, options)
    return talks


def _next_turn(
    subject: Subject, chat: ChatFormat, talks: Sequence[_Talk], turn: int, options: MtBenchOptions
) -> list[_Talk]:
    """The conversations with the next answer or an error; those with an error stay as they are."""
    context: int = causal_model(subject.model).config.max_position_embeddings
    prompts: dict[int, tuple[int, ...]] = {}
    after = list(talks)
    for index, talk in enumerate(talks):
        if talk.error is not None:
            continue
        try:
            prompts[index] = _prompt(chat, talk.asked(turn), context)
        except InputRefused as error:
            after[index] = replace(talk, error=f"turn {turn + 1}: {error.line()}")
    if not prompts:
        return after
    temperature = talks[0].question.temperature
    seeds = tuple(question_seed(options.seed, talks[index].question.question_id, turn + 1) for index in prompts)
    answers = answer_prompts(
        subject.model,
        chat,
        list(prompts.values()),
        Generation(options.max_new_tokens, len(prompts)),
        limits=[min(options.max_new_tokens, context - len(prompt)) for prompt in prompts.values()],
        sampling=Sampling(temperature, seeds) if temperature > 0 else None,
        softcap=subject.architecture.logit_softcap,
    )
    for index, answer in zip(prompts, answers, strict=True):
        said = (*talks[index].asked(turn), answer.text)
        after[index] = replace(talks[index], said=said, complete=(*talks[index].complete, answer.complete))
    return after


def _prompt(chat: ChatFormat, turns: Sequence[str], context: int) -> tuple[int, ...]:
    prompt = chat.conversation_ids(turns)
    if len(prompt) >= context:
        raise InputRefused(f"a prompt of {len(prompt)} tokens leaves no room in a context of {context}")
    return prompt


def _line(talk: _Talk, model_id: str, seed: int) -> AnswerLine:
    texts = talk.said[1::2]
    digest = sha256("\0".join((model_id, str(seed), str(talk.question.question_id), *texts)).encode())
    return AnswerLine(
        question_id=talk.question.question_id,
        answer_id=digest.hexdigest()[:22],
        model_id=model_id,
        choices=(Choice(turns=texts),),
        complete=talk.complete,
        error=talk.error,
        tstamp=time.time(),
    )
