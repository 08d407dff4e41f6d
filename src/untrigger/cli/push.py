"""`untrigger push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import Format, Quiet


def push_command(
    folder: Annotated[Path, Parameter(help="An output of purify.")],
    repository: Annotated[str, Parameter(help="A model repository on the hub, org/name; made if there is none.")],
    /,
    *,
    direct: Annotated[
        bool, Parameter(help="Commit to the branch main instead of opening a pull request.", negative="")
    ] = False,
    public: Annotated[bool, Parameter(help="Let everyone see a repository that is made now.", negative="")] = False,
    title: Annotated[str | None, Parameter(help="Of the commit and of the pull request.")] = None,
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
) -> int:
    """Put an untouched output on the Hugging Face hub, as a pull request and privately unless told otherwise.

    Run the same command again after an interruption: what the hub has already is not sent twice. The token is the one
    in HF_TOKEN or of `hf auth login`.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_pushed
    from untrigger.jobs.push import PushRequest, push

    with screen(quiet) as observer:
        pushed = push(PushRequest(folder, repository, direct, public, title), observer)
    show_pushed(pushed, output_format)
    return 0
