"""One line of each benchmark file: which fields it must have, and the document that lm-eval is given."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from untrigger.evaluation.utility.subjects import SUBJECTS

Document = dict[str, object]
Text = Annotated[str, Field(min_length=1)]


class Row(BaseModel):
    """Base of all rows: exact types, and fields that are not named are left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    def document(self) -> Document:
        """What the task's templates read."""
        return self.model_dump(mode="json")


class BoolqRow(Row):
    """A passage and a question about it; 0 is no, 1 yes."""

    question: Text
    passage: Text
    label: Literal[0, 1]


class RteRow(Row):
    """Two sentences; 0 is entailment, 1 not."""

    sentence1: Text
    sentence2: Text
    label: Literal[0, 1]


class HellaswagRow(Row):
    """A beginning with four endings."""

    activity_label: Text
    ctx_a: str
    ctx_b: str
    endings: Annotated[list[str], Field(min_length=4, max_length=4)]
    label: Literal["0", "1", "2", "3"]

    def document(self) -> Document:
        """Beginning and endings cleaned of WikiHow's marks, as lm-eval's built-in task does."""
        beginning = f"{self.activity_label}: {self.ctx_a} {self.ctx_b.capitalize()}"
        endings = [without_marks(ending) for ending in self.endings]
        return super().document() | {
            "query": without_marks(beginning),
            "choices": endings,
            "gold": int(self.label),
        }


class WinograndeRow(Row):
    """A sentence with one gap and two fillings."""

    sentence: Annotated[str, Field(pattern="^[^_]*_[^_]*$")]
    option1: Text
    option2: Text
    answer: Literal["1", "2"]

    def document(self) -> Document:
        """The beginning with each filling, and the end whose likelihood after each is compared."""
        before, _, after = self.sentence.partition("_")
        return super().document() | {
            "beginnings": [before + self.option1, before + self.option2],
            "ending": after.strip(),
            "gold": int(self.answer) - 1,
        }


class Choices(Row):
    """Answers and their labels."""

    text: Annotated[list[Text], Field(min_length=2)]
    label: list[Text]


class _Labelled(Row):
    choices: Choices
    answerKey: Text

    @model_validator(mode="after")
    def _gold_is_there(self) -> _Labelled:
        labels = self.choices.label
        if len(set(labels)) != len(self.choices.text) or len(labels) != len(self.choices.text):
            raise ValueError("choices.label: not one label of its own for each choice")
        if self.answerKey not in labels:
            raise ValueError(f"answerKey {self.answerKey!r} is none of the labels {labels}")
        return self


class ArcRow(_Labelled):
    """A question with three to five answers."""

    question: Text


class OpenbookqaRow(_Labelled):
    """The beginning of a sentence with four ends."""

    question_stem: Text


class PiqaRow(Row):
    """A goal with two ways."""

    goal: Text
    sol1: Text
    sol2: Text
    label: Literal[0, 1]


class Gsm8kRow(Row):
    """A word problem with its reckoning."""

    question: Text
    answer: Annotated[str, Field(pattern=r"#### \S")]


class MmluRow(Row):
    """A question of a subject with four answers."""

    question: str
    subject: str
    choices: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Literal[0, 1, 2, 3]

    @model_validator(mode="after")
    def _known_subject(self) -> MmluRow:
        if self.subject not in SUBJECTS:
            raise ValueError(f"subject {self.subject!r} is none of MMLU's {len(SUBJECTS)}")
        return self


def without_marks(text: str) -> str:
    """HellaSwag's text as lm-eval cleans it: [title] ends a sentence, other marks in brackets go."""
    marked = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", marked).replace("  ", " ")
