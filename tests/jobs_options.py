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
from untrigger.defences.registry import defence
from untrigger.jobs.opening import READ_BY_ALL
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Observer
from untrigger.report.result import Result

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


def treated(request: Request, options: PurifyOptions, observer: Observer | None = None) -> Result:
    """Purified, with those of the options that the defence reads."""
    return purify(request, read_by(request.defence, options), observer)


def read_by(name: str, *given: PurifyOptions) -> PurifyOptions:
    """Of these options, the later ones first, those that the defence of this name reads."""
    groups = {group: value for options in given for group, value in options if group in options.model_fields_set}
    return PurifyOptions(**{group: groups[group] for group in groups if group in defence(name).reads | READ_BY_ALL})
