"""Weight files: headers first, then every tensor once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import Tensor

from untrigger.errors import InputRefused
from untrigger.inspection.findings import Collector
from untrigger.inspection.tensors import tensor_findings
from untrigger.models.checkpoint import WeightFiles, open_weights, read_tensors
from untrigger.models.untrusted.header import read_header

Kept = Callable[[str, Tensor], None]


def check_headers(found: Collector, stem: str) -> WeightFiles | None:
    """The weight files if every header is sound; where the set is not, each file is looked at by itself."""
    try:
        return open_weights(found.folder, stem)
    except InputRefused as error:
        found.refusal("weights-refused", _file_in(str(error.what), found), error)
    for path in sorted(found.folder.glob("*.safetensors")):
        if path.is_file():
            found.passes("weights-refused", path.name, partial(read_header, path))
    return None


def _file_in(text: str, found: Collector) -> str:
    """The file of the folder that a refusal speaks of, empty for none."""
    names = sorted((path.name for path in found.folder.iterdir()), key=len, reverse=True)
    return next((name for name in names if str(found.folder / name) in text), "")


def check_values(found: Collector, weights: WeightFiles, keep: Kept, go_on: Callable[[], None]) -> None:
    """Read every tensor once, one at a time; `keep` sees each, `go_on` is asked before each."""
    for name, tensor in _while_sound(found, read_tensors(weights)):
        go_on()
        tensor_findings(found, weights.tensors[name].shard, name, tensor)
        keep(name, tensor)


def _while_sound(found: Collector, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    try:
        yield from tensors
    except InputRefused as error:
        found.refusal("weights-refused", "", error)
