"""Rounding to four bits: NF4 with double quantisation (QLoRA, arXiv 2305.14314) by bitsandbytes.

The rounded values are stored in the model's own type, so that the output is a plain model with exactly the weights
that inference in NF4 would use.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from untrigger.config import Int4Options, PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.errors import UntriggerError
from untrigger.models.blocks import blocks, linears
from untrigger.models.merge import whole_subject
from untrigger.models.subject import Subject

BLOCK = 64
"""Neighbouring weights that share a scale (arXiv 2305.14314)."""


def require_bitsandbytes() -> None:
    """Looks bitsandbytes up, without importing it.

    Raises:
        UntriggerError: it is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise UntriggerError(
            "rounding to four bits needs bitsandbytes, which is not installed", todo="pip install 'untrigger[quant]'"
        )


def int4(subject: Subject, _: Resources, options: PurifyOptions) -> Treated:
    """The rounded model as a whole one; an adapter that was not rounded is merged as it is."""
    return Treated(whole_subject(rounded(subject, options.int4)))


def rounded(subject: Subject, options: Int4Options) -> Subject:
    """Rounds the linear modules of the blocks in place; under an adapter that is not merged first, the base's."""
    chosen = whole_subject(subject) if options.merge_first else subject
    with torch.no_grad():
        for block in blocks(chosen.model):
            for linear in linears(block).values():
                linear.weight.copy_(nf4(linear.weight, options))
    return chosen


def nf4(weight: Float[Tensor, "out in"], options: Int4Options) -> Float[Tensor, "out in"]:
    """The matrix quantised and dequantised in its own type; on the CPU, so that all devices give the same values."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    codes, state = quantize_4bit(
        weight.detach().cpu().reshape(1, -1),  # as one row: bitsandbytes' AVX-512 code errs in rows below a block
        blocksize=BLOCK,
        compress_statistics=options.double_quantisation,
        quant_type="nf4",
    )
    restored: Tensor = dequantize_4bit(codes, state)
    return restored.view_as(weight)
