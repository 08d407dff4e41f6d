"""Imports go one way, and help is printed without loading torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "untrigger"
LEVELS = (
    {"errors", "files", "checksums"},
    {"config"},
    {"models", "data", "backdoors", "train", "training_state", "optimisers", "observer"},
    {
        "variants",
        "inversion",
        "signature",
        "extraction",
        "suppress",
        "treatment",
        "evaluation",
        "analysis",
        "inspection",
        "runs",
        "lab",
    },
    {"presets", "report", "titration"},
    {"jobs", "defences"},
    {"cli"},
)
# Small types that the maths speaks in, and counting of degenerate answers that record sources filter by.
ALLOWED = {("data", "evaluation"), ("models", "lab")}


def level_of(room: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


def imports_of(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("untrigger."):
            yield node.module.split(".")[1]


def test_imports_go_one_way():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts in {("__init__",), ("__main__",)}:
            continue
        for target in imports_of(path):
            if level_of(target) > level_of(parts[0]) and (parts[0], target) not in ALLOWED:
                wrong.append(f"{'/'.join(parts)} -> {target}")
    assert not wrong


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom untrigger.cli.main import app\n"
        "from untrigger.cli.main import COMMANDS\n"
        "for words in (['--help'], *([name, '--help'] for name in COMMANDS)):\n"
        "    app(words, result_action='return_value')\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "purify" in done.stdout
