"""What an installation brings: every file of the package, not its modules alone."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(folder: str) -> set[str]:
    """Files that belong to the package; what a run leaves beside them does not."""
    skipped = ("__pycache__", ".egg-info")
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if not any(word in str(path) for word in skipped)}


def test_the_wheel_holds_every_file_of_the_package() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    builder = wheel.WheelBuilder(str(ROOT))
    held = {f"src/{file.distribution_path}" for file in builder.recurse_included_files()}
    assert held == tracked("src") and builder.metadata.core.license_files == ["LICENSE"]
    assert "src/untrigger/data/instructions.jsonl" in held and "src/untrigger/py.typed" in held


def test_the_source_distribution_holds_what_the_tests_and_the_documents_need() -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed")
    held = {file.distribution_path for file in sdist.SdistBuilder(str(ROOT)).recurse_included_files()}
    assert held >= tracked("src") | tracked("tests") | tracked("docs") | {"LICENSE", "Makefile", "constraints.txt"}
