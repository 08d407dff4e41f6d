from untrigger.models.architecture import Projection, Role
from untrigger.report.parts import HeadResult
from untrigger.report.summary import environment_result, signature_result
from untrigger.signature.types import Head, Signature


def test_a_signature_is_counted_by_layer_and_role() -> None:
    later = Projection(Role.DOWN, 1, "m.1.down", 1, 0, 8)
    fused = Projection(Role.UP, 0, "m.0.gate_up", 0, 8, 16)
    found = signature_result(Signature({later: (0, 3, 7), fused: ()}, heads=(Head(1, 2),)), ratio=0.25)
    assert [(c.layer, c.role, c.selected, c.channels) for c in found.counts] == [
        (0, "up", 0, 8),
        (1, "down", 3, 8),
    ]
    assert (found.selected, found.channels, found.ratio) == (3, 16, 0.25)
    assert found.heads == (HeadResult(layer=1, head=2),)


def test_the_environment_names_the_versions_in_use() -> None:
    found = environment_result("cpu", "float32", threads=2, packages=("pydantic", "rich"))
    assert set(found.packages) == {"pydantic", "rich"} and all(found.packages.values())
    assert (found.device, found.dtype, found.threads) == ("cpu", "float32", 2)
