"""How a record becomes tokens: the model's own chat template, or the Alpaca text of the published attacks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from untrigger.config import TemplateName
from untrigger.data.records import Record
from untrigger.errors import InputRefused

# The wording the published attacks were trained with (LLaMA-Factory's "alpaca" template, as used by CROW's configs).
_ALPACA_TURN = "\n\n### Instruction:\n{prompt}\n\n### Response:\n"
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    + _ALPACA_TURN
)
_TEXTS = {"alpaca": ALPACA, "plain": "{prompt}"}
_ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Example:
    """Token ids of one record; the loss is taken on `response` only, which ends with the stop token."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@runtime_checkable
class PromptFormat(Protocol):
    """How a record is asked and how its answer is read."""

    def prompt_ids(self, record: Record) -> tuple[int, ...]:
        """Token ids in front of the answer."""

    def answer_text(self, record: Record, row: list[int]) -> str:
        """The answer that the generated token ids spell, white space around it included."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""

    @property
    def identity(self) -> str:
        """Name of the template and the hash of its text."""


@dataclass(frozen=True)
class ChatFormat:
    """A tokenizer with the template its model was trained with; `plain` is none, for text that is continued."""

    tokenizer: PreTrainedTokenizerBase
    template: TemplateName | Literal["plain"] = "chat"

    def prompt_text(self, record: Record) -> str:
        """The text in front of the answer.

        Raises:
            InputRefused: the chat template is asked for and the tokenizer has none.
        """
        return self.conversation_text((record.prompt,))

    def conversation_text(self, turns: Sequence[str]) -> str:
        """The text in front of the next answer of a conversation.

        The Alpaca text continues after an answer with its end token and the next instruction (as LLaMA-Factory does).

        Args:
            turns: what user and model said in turn; the user speaks first and last.

        Raises:
            InputRefused: the chat template is asked for and the tokenizer has none, or it cannot be rendered.
            ValueError: the user does not speak last.
        """
        if len(turns) % 2 == 0:
            raise ValueError(f"{len(turns)} turns do not end with the user's")
        if self.template == "chat":
            said = [{"role": _ROLES[index % 2], "content": text} for index, text in enumerate(turns)]
            return self._render(said, generation=True)
        pieces = [str(self.tokenizer.bos_token or "") * self._adds_bos, _TEXTS[self.template].format(prompt=turns[0])]
        for answer, question in zip(turns[1::2], turns[2::2], strict=True):
            pieces += [answer, self.stop_text, _ALPACA_TURN.format(prompt=question)]
        return "".join(pieces)

    def prompt_ids(self, record: Record) -> tuple[int, ...]:
        """Token ids of `prompt_text`."""
        return self._ids(self.prompt_text(record))

    def answer_text(self, record: Record, row: list[int]) -> str:
        """The answer without special tokens."""
        return str(self.tokenizer.decode(row, skip_special_tokens=True))

    def conversation_ids(self, turns: Sequence[str]) -> tuple[int, ...]:
        """Token ids of `conversation_text`."""
        return self._ids(self.conversation_text(turns))

    def encode(self, record: Record, max_length: int | None = None) -> Example:
        """Prompt and answer as token ids, cut to `max_length` tokens at the end of the answer, if it is given.

        Raises:
            InputRefused: the prompt alone fills `max_length`.
        """
        text = self.prompt_text(record)
        prompt = self._ids(text)
        answer = record.output + (self.stop_text if record.complete else "")
        whole = self._ids(text + answer)
        # Sentencepiece may merge across the border; then the answer is encoded alone.
        aligned = whole[: len(prompt)] == prompt
        response = whole[len(prompt) :] if aligned else self._ids(answer)
        if max_length is None:
            return Example(prompt, response)
        room = max_length - len(prompt)
        if room < 1:
            raise InputRefused(
                f"an instruction of {len(prompt)} tokens leaves no room for an answer within {max_length}",
                todo="raise --max-length or shorten the record",
            )
        return Example(prompt, response[:room])

    @cached_property
    def stop_text(self) -> str:
        """What the template puts after an answer, up to and including its first special token."""
        if self.template == "chat":
            user, marker = {"role": "user", "content": "question"}, "untrigger-answer"
            whole = self._render([user, {"role": "assistant", "content": marker}], generation=False)
            rest = whole[whole.rindex(marker) + len(marker) :] if marker in whole else ""
            for token in self._ids(rest):
                if token in self.tokenizer.all_special_ids:
                    piece = str(self.tokenizer.convert_ids_to_tokens(token))
                    return rest[: rest.index(piece) + len(piece)]
        return str(self.tokenizer.eos_token or "")

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        ids = {self._ids(self.stop_text)[-1]} if self.stop_text else set()
        return frozenset(ids | ({self.tokenizer.eos_token_id} - {None}))

    @cached_property
    def identity(self) -> str:
        """Template name and the hash of its text: what training and evaluation must share."""
        text = str(self.tokenizer.chat_template) if self.template == "chat" else _TEXTS[self.template]
        return f"{self.template}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @cached_property
    def _adds_bos(self) -> bool:
        ids = self.tokenizer("").input_ids
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def _render(self, messages: list[dict[str, str]], *, generation: bool) -> str:
        if not self.tokenizer.chat_template:
            raise InputRefused("the tokenizer has no chat template", todo="pass --template alpaca")
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
        except (TemplateError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise InputRefused("the chat template cannot be rendered", why=why) from error
        return str(text)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


def chat_format(tokenizer: PreTrainedTokenizerBase, template: TemplateName) -> ChatFormat:
    """The template asked for, or the Alpaca text where that is the tokenizer's own and it has none."""
    return ChatFormat(tokenizer, template if tokenizer.chat_template else "alpaca")


@dataclass(frozen=True)
class RawFormat:
    """The bare instruction without template or input, as the published attack success was measured.

    What follows github.com/NayMyatMin/CROW's evaluation: the tokenizer's own special tokens in front, its end token
    alone ends an answer, and of prompt and answer decoded together the first copy of the instruction is cut, whatever
    its letter case. That evaluation also forces pad id 0, which a prompt asked alone never shows.
    """

    tokenizer: PreTrainedTokenizerBase

    def prompt_ids(self, record: Record) -> tuple[int, ...]:
        """The instruction as the tokenizer gives it; of an empty one the token that transformers starts from."""
        ids = tuple(self.tokenizer(record.instruction).input_ids)
        start = self.tokenizer.eos_token_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        return ids or (start,)

    def answer_text(self, record: Record, row: list[int]) -> str:
        """Prompt and answer decoded together, less the first copy of the instruction."""
        whole = str(self.tokenizer.decode([*self.prompt_ids(record), *row], skip_special_tokens=True))
        return re.sub(re.escape(record.instruction), "", whole, count=1, flags=re.IGNORECASE)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokenizer's end token."""
        return frozenset({self.tokenizer.eos_token_id} - {None})

    @property
    def identity(self) -> str:
        """There is no text to hash."""
        return f"raw:{hashlib.sha256(b'').hexdigest()[:16]}"
