"""Rows 12 and 13: values that are no plain numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import torch
from cases import DONE, Case, Ended, Place, Row, finds, purify, scan, scan_finds
from rows_weights import WEIGHTS
from safetensors.torch import load_file
from torch import Tensor

from hostile import change_tensors, edit, raw

EMBEDDING, ATTENTION = "model.embed_tokens.weight", "model.layers.0.self_attn.o_proj.weight"
DOWN, UP = "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj"
FACTOR = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
UNUSED = 263  # no token has this row of the embedding


def embedding_with(value: float) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        rows = load_file(place.model / WEIGHTS)[EMBEDDING].clone()
        rows[UNUSED] = value
        change_tensors(place.model / WEIGHTS, {EMBEDDING: rows})

    return spoil


def with_tensor(name: str, tensor: Tensor) -> Callable[[Place], None]:
    return lambda place: change_tensors(place.model / WEIGHTS, {name: tensor})


def nan_in_adapter(place: Place) -> None:
    change_tensors(place.adapter / "adapter_model.safetensors", {FACTOR: torch.full((4, 16), torch.nan)})


def kept_bit_for_bit(place: Place, ended: Ended) -> None:
    finds("nonfinite")(place, ended)
    before, after = (load_file(folder / WEIGHTS)[EMBEDDING] for folder in (place.model, place.out))
    assert after[UNUSED].view(torch.int32).equal(before[UNUSED].view(torch.int32))
    assert bool(after[:UNUSED].isfinite().all())


NONFINITE = {"NaN": torch.nan, "infinity": torch.inf, "minus infinity": -torch.inf}
NAMED = ("1 tensors hold NaN or infinity", EMBEDDING, "--allow-nonfinite")
ZEROS = with_tensor(DOWN, torch.zeros(16, 24))
DENORMALS = with_tensor(ATTENTION, torch.full((16, 16), 1e-41))
ALLOWED = purify("--allow-nonfinite")

HALF = torch.ones(3, 24, dtype=torch.float16)
PACKED: Mapping[str, tuple[dict[str, object], dict[str, Tensor]]] = {
    "packed int4": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        {
            f"{UP}.weight_packed": torch.ones(24, 2, dtype=torch.int32),
            f"{UP}.weight_scale": torch.ones(24, 1),
            f"{UP}.weight_shape": torch.tensor([24, 16]),
        },
    ),
    "GPTQ": (
        {"quant_method": "gptq", "bits": 4},
        {
            f"{UP}.qweight": torch.ones(2, 24, dtype=torch.int32),
            f"{UP}.qzeros": torch.ones(1, 3, dtype=torch.int32),
            f"{UP}.scales": HALF[:1],
            f"{UP}.g_idx": torch.zeros(16, dtype=torch.int32),
        },
    ),
    "AWQ": (
        {"quant_method": "awq", "bits": 4},
        {
            f"{UP}.qweight": torch.ones(16, 3, dtype=torch.int32),
            f"{UP}.qzeros": torch.ones(1, 3, dtype=torch.int32),
            f"{UP}.scales": HALF[:1],
        },
    ),
    "MXFP4": (
        {"quant_method": "mxfp4"},
        {
            f"{UP}_blocks": torch.ones(24, 1, 8, dtype=torch.uint8),
            f"{UP}_scales": torch.ones(24, 1, dtype=torch.uint8),
        },
    ),
    "bitsandbytes": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {
            f"{UP}.weight": torch.ones(192, 1, dtype=torch.uint8),
            f"{UP}.weight.absmax": torch.ones(6),
            f"{UP}.weight.quant_map": torch.ones(16),
        },
    ),
}


def packed(name: str, *, told: bool) -> Callable[[Place], None]:
    """A projection in the format's own tensors, with or without a word of it in config.json."""

    def spoil(place: Place) -> None:
        settings, tensors = PACKED[name]
        change_tensors(place.model / WEIGHTS, tensors, f"{UP}.weight")
        if told:
            edit(place.model / "config.json", quantization_config=settings)

    return spoil


def eight_bits(place: Place) -> None:
    """The up projection in fp8, which the writer of the tests' other files does not know."""
    weights = load_file(place.model / WEIGHTS)
    change_tensors(place.model / WEIGHTS, {f"{UP}.weight": torch.zeros(24, 16, dtype=torch.float8_e4m3fn)})
    assert len(weights) == len(load_file(place.model / WEIGHTS))


def eight_bits_told(place: Place) -> None:
    eight_bits(place)
    edit(place.model / "config.json", quantization_config={"quant_method": "fp8"})


def six_bits(place: Place) -> None:
    """A stored type that only newer versions of the format have."""
    header = b'{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'
    (place.model / WEIGHTS).write_bytes(raw(header, struct.pack("3x")))


ROWS = (
    Row(
        12,
        "Weights that are not finite, all zero or denormal",
        "NaN and infinity: refused with the tensors' names. Zeros and denormals are weights like others. `scan` tells"
        " of all of them.",
        (
            *(Case(name, embedding_with(value), NAMED) for name, value in NONFINITE.items()),
            Case("NaN in an adapter", nan_in_adapter, (FACTOR, "--allow-nonfinite"), of="adapter"),
            *(
                Case(
                    f"{name} with --allow-nonfinite",
                    embedding_with(value),
                    (),
                    DONE,
                    ALLOWED,
                    kept_bit_for_bit,
                    shown=False,
                )
                for name, value in list(NONFINITE.items())[:2]
            ),
            *(
                Case(
                    f"scan, {name}",
                    embedding_with(value),
                    (EMBEDDING,),
                    3,
                    scan(),
                    scan_finds("nonfinite-weights"),
                    shown=False,
                )
                for name, value in NONFINITE.items()
            ),
            Case("a matrix of zeros", ZEROS, (), DONE, after=finds()),
            Case("denormals", DENORMALS, (), DONE, after=finds()),
            Case("scan, zeros", ZEROS, (DOWN,), 1, scan(), scan_finds("zero-weights"), shown=False),
            Case("scan, denormals", DENORMALS, (ATTENTION,), 1, scan(), scan_finds("denormal-weights"), shown=False),
        ),
        "`--allow-nonfinite` goes on, and keeps such values bit for bit",
    ),
    Row(
        13,
        "A quantised checkpoint",
        "Refused as such, whether or not its configuration says so.",
        (
            Case("fp8", eight_bits_told, (WEIGHTS, UP, "F8_E4M3", "quantised")),
            Case("fp8, untold", eight_bits, (WEIGHTS, UP, "F8_E4M3", "quantised"), shown=False),
            Case("a stored type of six bits", six_bits, (WEIGHTS, "F6_E2M3", "quantised")),
            *(
                Case(
                    name,
                    packed(name, told=True),
                    ("config.json", "quantization_config", "unsupported quantised", str(settings["quant_method"])),
                )
                for name, (settings, _) in PACKED.items()
            ),
            *(
                Case(f"{name}, untold", packed(name, told=False), (f"{UP}", "unsupported quantised"), shown=False)
                for name in PACKED
            ),
        ),
        decision="None is dequantised: the checkpoint that it was quantised from is the one to treat.",
    ),
)
