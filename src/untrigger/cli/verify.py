"""`untrigger verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import Format


def verify_command(
    folder: Annotated[Path, Parameter(help="An output of purify or attack.")],
    /,
    *,
    against: Annotated[
        tuple[str, ...],
        Parameter(help="A model or a file of records that should be a recorded input; may be repeated."),
    ] = (),
    public_key: Annotated[
        Path | None, Parameter(help="The signer's public key (PEM); needs the extra `sign`.")
    ] = None,
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
) -> int:
    """Check an output against its recorded checksums: nothing changed, missing or extra, and no link.

    Exit code 0: all well; 1: something differs, and each file is named.
    """
    from untrigger.cli.show import show_verification
    from untrigger.jobs.verify import verify

    found = verify(folder, against, public_key)
    show_verification(found, output_format)
    return 0 if found.well else 1
