"""What a user asks for, besides the options of the method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.types import Backdoor
from untrigger.config import Effort, TemplateName
from untrigger.errors import UsageError


@dataclass(frozen=True)
class Request:
    """One purification.

    `data` holds clean records (default: the model's own answers to shipped instructions). `attack` and `behaviour`
    name a public backdoor that is only measured, never used for the treatment; `prompts` are asked when measuring
    (default: shipped ones; with answers, these also serve for the perplexity).
    """

    model: str
    output: Path
    base: str | None = None
    data: Path | None = None
    prompts: Path | None = None
    attack: str | None = None
    behaviour: str | None = None
    defence: str = "vaccine"
    preset: Literal["default", "paper"] = "default"
    """paper: another name of the defence `paper`."""
    effort: Effort = "standard"
    """How much the defence `vaccine` spends."""
    reference: str | None = None
    """A model that is taken to be clean, for the defences that need one."""
    template: TemplateName = "chat"
    other_template: bool = False
    """Go on although the model says that it was trained with another template."""
    accept_template: bool = False
    """Go on although the model's chat template branches on what messages say."""
    replace_template: str | None = None
    """Known chat template that is used, and written, in place of the model's own."""
    allow_nonfinite: bool = False
    """Go on although weights hold NaN or infinity; they stay as they are."""
    run: Path | None = None
    keep_run: bool = False
    trust_named_base: bool = False
    device: str = "auto"
    dtype: str = "auto"

    @property
    def run_folder(self) -> Path:
        """Where unfinished work is kept."""
        return self.run or self.output.with_name(self.output.name + ".run")

    def shaping(self) -> dict[str, object]:
        """What decides the result besides the model and the options."""
        names = ("data", "prompts", "attack", "behaviour", "template", "replace_template")
        return {name: getattr(self, name) for name in names} | {"defence": self.defence_name}

    @property
    def defence_name(self) -> str:
        """The defence asked for.

        Raises:
            UsageError: the preset belongs to another one, or it knows no effort.
        """
        if self.preset == "paper" and self.defence not in ("vaccine", "paper"):
            raise UsageError(f"--preset paper is no recipe for {self.defence}", todo="give one of the two")
        name = self.defence if self.preset == "default" else "paper"
        if self.effort != "standard" and name != "vaccine":
            raise UsageError(f"--effort {self.effort} is no recipe for {name}", todo="give one of the two")
        return name

    def probe_backdoor(self) -> Backdoor | None:
        """The backdoor to measure; raises as `named_backdoor`."""
        return named_backdoor(self.attack, self.behaviour)


def named_backdoor(attack: str | None, behaviour: str | None) -> Backdoor | None:
    """The public backdoor of these names, None if neither is given.

    Raises:
        UsageError: only one of the two is given, or a name is unknown.
    """
    if (attack is None) != (behaviour is None):
        raise UsageError("--attack and --behaviour belong together", todo="give both or neither")
    return lookup(attack, behaviour) if attack and behaviour else None
