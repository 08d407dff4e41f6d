"""Our recipe at three efforts, and the published one for the models it was published for (arXiv 2603.13461)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from untrigger.config import (
    Access,
    Effort,
    InversionOptions,
    KeyWordOptions,
    Options,
    PurifyOptions,
    RenewalOptions,
    RepairOptions,
    SignatureOptions,
    SuppressOptions,
    TitrationOptions,
    TrainOptions,
    UnlearningOptions,
    VariantOptions,
)
from untrigger.models.architecture import Architecture

Group = TypeVar("Group", bound=Options)


@dataclass(frozen=True)
class PublishedRow:
    """Hyper-parameters of one published model, recognised by its sizes."""

    name: str
    model_type: str
    layers: int
    hidden_size: int
    ratio_full: float
    ratio_adapter: float
    heads_full: int
    heads_adapter: int


# CodeLLaMA's ratios are not published; it has the sizes of LLaMA-2 and is taken to share them.
PUBLISHED = (
    PublishedRow("LLaMA-2-7B-Chat or CodeLLaMA-7B-Instruct", "llama", 32, 4096, 0.03, 0.35, 0, 0),
    PublishedRow("LLaMA-2-13B-Chat or CodeLLaMA-13B-Instruct", "llama", 40, 5120, 0.08, 0.40, 0, 0),
    PublishedRow("Mistral-7B-Instruct-0.1", "mistral", 32, 4096, 0.08, 0.40, 2, 8),
)
FALLBACK = PUBLISHED[0]


def published_row(architecture: Architecture) -> PublishedRow | None:
    """The row of a model with these sizes, None for a model that was not published."""
    key = (architecture.model_type, len(architecture.layers), architecture.hidden_size)
    return next((row for row in PUBLISHED if (row.model_type, row.layers, row.hidden_size) == key), None)


def default_options(access: Access) -> PurifyOptions:
    """Our recipe: an adapter bears a larger ratio than a full model, as in the published table, and larger steps.

    Planted sentences are looked for in both. An adapter is renewed in any case; a whole model in which none is found
    stays as it is.
    """
    if access == "adapter":
        return PurifyOptions(
            inversion=InversionOptions(least_probability=0.1, certainty=0.5, agreement=0.5),
            signature=SignatureOptions(ratio=0.5),
            suppress=SuppressOptions(remainder=0.5),
            unlearning=UnlearningOptions(attempts=1, words=KeyWordOptions(pieces=0)),
        )
    strong = 2e-4
    return PurifyOptions(
        variants=VariantOptions(train=TrainOptions(learning_rate=strong, epochs=3)),
        signature=SignatureOptions(ratio=0.03),
        repair=RepairOptions(
            inject_train=TrainOptions(learning_rate=strong, epochs=1),
            train=TrainOptions(learning_rate=1e-4, epochs=1),
        ),
        unlearning=UnlearningOptions(
            further="survived",
            through="adapter",
            price=1.0125,
            train=TrainOptions(learning_rate=1.4e-3, epochs=1, embeddings=False, last_blocks=0.33),
        ),
        titration=TitrationOptions(train=TrainOptions(learning_rate=1e-4, epochs=4)),
    )


def effort_options(effort: Effort, access: Access) -> PurifyOptions:
    """What an effort sets beside `default_options`; the standard one sets nothing.

    Quick looks for no words that call a sentence and takes half as many steps for a soft key. Thorough keeps nothing
    of an adapter's lora_B, and goes the whole way of a whole model's unlearning at the least, and farther at four
    times the price. What they cost and what they leave is measured in docs/explanation/defaults.md.
    """
    if effort == "quick":
        return PurifyOptions(unlearning=UnlearningOptions(words=KeyWordOptions(beam=0), search_steps=10))
    if effort == "thorough" and access == "adapter":
        from_nothing = TrainOptions(learning_rate=7e-4, epochs=3)
        return PurifyOptions(renewal=RenewalOptions(remainder=0.0, unfound=0.0, records=480, train=from_nothing))
    if effort == "thorough":
        return PurifyOptions(unlearning=UnlearningOptions(least_step=1.0, price=1.05))
    return PurifyOptions()


def paper_options(architecture: Architecture, access: Access) -> PurifyOptions:
    """The published recipe; a model that was not published gets LLaMA-2-7B's row.

    Six pairs of 500 records, 5 epochs at 2e-4 with batch 8, unmatched twins, the top ratio of each module by norm +
    0.01 alignment, 125 steps of repair on 200 clean records at 1e-5 (full) or 2e-4 (adapter).
    """
    row = published_row(architecture) or FALLBACK
    adapter = access == "adapter"
    variant = TrainOptions(learning_rate=2e-4 if adapter else 1e-5, epochs=5, batch_size=8, max_length=1024)
    return PurifyOptions(
        inversion=InversionOptions(enable=False),
        variants=VariantOptions(pairs=6, records=500, families=("insult",), twin="published", train=variant),
        signature=SignatureOptions(
            ratio=row.ratio_adapter if adapter else row.ratio_full,
            form="sum",
            alignment_weight=0.01,
            tie="module",
            scope="module",
            heads=row.heads_adapter if adapter else row.heads_full,
        ),
        suppress=SuppressOptions(value="xavier"),
        repair=RepairOptions(records=200, inject=False, key_bearing=False, train=variant),
    )


def merged(base: Group, over: Group) -> Group:
    """`base` with every option that was set explicitly in `over`, group by group; no other counts as set."""
    updates: dict[str, object] = {}
    for name in over.model_fields_set:
        value, ground = getattr(over, name), getattr(base, name)
        nested = isinstance(value, Options) and isinstance(ground, Options)
        updates[name] = merged(ground, value) if nested else value
    set_before = base.model_dump(exclude_unset=True)
    return type(base).model_validate({**set_before, **{name: _plain(value) for name, value in updates.items()}})


def _plain(value: object) -> object:
    return value.model_dump(exclude_unset=True) if isinstance(value, Options) else value
