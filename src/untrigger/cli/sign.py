"""`untrigger sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import Format


def sign_command(
    folder: Annotated[Path, Parameter(help="An output of purify or attack.")],
    /,
    *,
    key: Annotated[Path, Parameter(help="Private key: EC (P-256, P-384 or P-521), PEM, not encrypted.")],
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
) -> int:
    """Sign an output with a local key: model.sig, an OpenSSF model signature.

    It can be checked with `untrigger verify --public-key` and with `model_signing verify key`.
    """
    from untrigger.checksums import SIGNATURE
    from untrigger.cli.show import show_signed
    from untrigger.jobs.sign import sign

    sign(folder, key)
    show_signed(folder / SIGNATURE, output_format)
    return 0
