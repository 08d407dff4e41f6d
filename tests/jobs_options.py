"""Options that make a run of a tiny model take a second; whole models get the signature's treatment all the same."""

from untrigger.config import (
    AttackOptions,
    MeasureOptions,
    PurifyOptions,
    RepairOptions,
    SignatureOptions,
    TrainOptions,
    UnlearningOptions,
    VariantOptions,
)

ONE_EPOCH = TrainOptions(learning_rate=1e-3, epochs=1, batch_size=4)
FEW_PROMPTS = MeasureOptions(max_prompts=3, max_new_tokens=4)
SMALL = PurifyOptions(
    variants=VariantOptions(pairs=2, records=4, train=ONE_EPOCH),
    signature=SignatureOptions(ratio=0.25),
    repair=RepairOptions(records=6, keys=2, train=ONE_EPOCH),
    unlearning=UnlearningOptions(further="unfound"),
    measure=FEW_PROMPTS,
)
SMALL_FLAGS = [
    *("--variants.pairs=2", "--variants.records=4", "--variants.train.epochs=1", "--repair.records=6"),
    *("--repair.keys=2", "--repair.train.epochs=1", "--repair.inject-train.epochs=1"),
    *("--measure.max-prompts=3", "--measure.max-new-tokens=4", "--unlearning.further=unfound"),
]
"""Much the same for the command line."""
SMALL_ATTACK = AttackOptions(clean_records=6, train=ONE_EPOCH, measure=FEW_PROMPTS)
