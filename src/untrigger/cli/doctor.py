"""`untrigger doctor`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import Format


def doctor_command(*, output_format: Annotated[Format, Parameter(name="--format")] = "text") -> int:
    """Say what this machine has: versions, devices, memory, and the built-in models that can be found."""
    from rich.console import Console
    from rich.text import Text

    from untrigger.jobs.doctor import examine

    findings = examine()
    if output_format == "json":
        rows = [{"name": f.name, "value": f.value, "well": f.well} for f in findings]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        console = Console()
        for finding in findings:
            console.print(Text(f"{'ok  ' if finding.well else 'look'} {finding.name:14} {finding.value}"))
    return 0 if all(finding.well for finding in findings) else 1
