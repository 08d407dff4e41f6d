"""One forward pass for training, scoring and generation: logits only where they are needed.

Chat prompts share a long prefix (template and system text). Causal attention makes its keys and values the same for
every record, so they are computed once a batch and expanded; gradients flow back through the expansion, and the
result is that of the plain forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.data.chat import Example


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids behind a shared prefix, and which positions predict a response token."""

    prefix: Int[Tensor, " prefix"]
    ids: Int[Tensor, "batch length"]
    predicts: Bool[Tensor, "batch length"]
    targets: Int[Tensor, " response"]

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return self.prefix.numel() + self.ids.numel()


def causal_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The causal language model itself; an adapter's layers stay in place inside it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


SHORTEST_PREFIX = 8
"""Below so many tokens the extra pass costs more than it saves (5-15 % on the micro model)."""


def shared_prefix(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest common beginning of all prompts that leaves each at least one token; empty if it is short."""
    if not prompts:
        return ()
    low, high = min(map(tuple, prompts)), max(map(tuple, prompts))
    limit = min(len(prompt) for prompt in prompts) - 1
    count = 0
    while count < limit and low[count] == high[count]:
        count += 1
    return tuple(low[:count]) if count >= SHORTEST_PREFIX else ()


def collate(examples: Sequence[Example], prefix: Sequence[int], device: torch.device) -> Batch:
    """Examples as one right-padded batch; pads are token 0, never attended to (they come last), never scored."""
    rows = [(*example.prompt, *example.response)[len(prefix) :] for example in examples]
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *([0] * (length - len(row)))] for row in rows])
    predicts = torch.zeros(ids.shape, dtype=torch.bool)
    for index, example in enumerate(examples):
        first = len(example.prompt) - len(prefix) - 1
        predicts[index, first : first + len(example.response)] = True
    targets = torch.tensor([token for example in examples for token in example.response])
    return Batch(
        torch.tensor(prefix, dtype=torch.long, device=device),
        ids.to(device),
        predicts.to(device),
        targets.to(device),
    )


def predicting(batch: Batch) -> Batch:
    """The batch without its last column, which predicts nothing; that saves something where rows are short."""
    return replace(batch, ids=batch.ids[:, :-1], predicts=batch.predicts[:, :-1])


def expanded_prefix(model: PreTrainedModel, prefix: Int[Tensor, " prefix"], count: int) -> DynamicCache | None:
    """Keys and values of the prefix for `count` sequences, computed once; None for an empty prefix."""
    if not prefix.numel():
        return None
    cache = DynamicCache()
    model.get_decoder()(input_ids=prefix[None], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(count)
    return cache


def response_logits(
    model: PreTrainedModel | PeftModel,
    batch: Batch,
    softcap: float | None = None,
    embedded: Float[Tensor, "batch length hidden"] | None = None,
) -> Float[Tensor, "response vocabulary"]:
    """Logits of the positions that predict response tokens, record by record, in the model's dtype.

    `embedded` stands for the batch's ids, as the model's input embeddings would give them.
    """
    return head_logits(causal_model(model), response_states(model, batch, embedded), softcap)


def response_states(
    model: PreTrainedModel | PeftModel,
    batch: Batch,
    embedded: Float[Tensor, "batch length hidden"] | None = None,
) -> Float[Tensor, "response hidden"]:
    """What the output layer is given at these positions; see `response_logits`."""
    causal = causal_model(model)
    cache = expanded_prefix(causal, batch.prefix, batch.ids.shape[0])
    start = batch.prefix.numel()
    positions = torch.arange(start, start + batch.ids.shape[1], device=batch.ids.device)[None]
    output = causal.get_decoder()(
        input_ids=batch.ids if embedded is None else None,
        inputs_embeds=embedded,
        past_key_values=cache,
        position_ids=positions,
        use_cache=cache is not None,
    )
    states: Tensor = output.last_hidden_state[batch.predicts]
    return states


def head_logits(
    model: PreTrainedModel, hidden: Float[Tensor, "*position hidden"], softcap: float | None
) -> Float[Tensor, "*position vocabulary"]:
    """The output layer, with the soft cap of the families that have one (Gemma 2)."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)
