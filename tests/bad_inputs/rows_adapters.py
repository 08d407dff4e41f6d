"""Rows 27 to 33: adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import torch
from cases import DONE, Case, Command, Ended, Place, Row, finds, purify, scan, scan_finds

from hostile import change_tensors, edit
from tiny import save_tiny

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
ADAPTER = purify(of="adapter")
SCAN = scan("adapter")


def without_base(*more: str) -> Command:
    return lambda place: ["evaluate", place.adapter, "--format=json", *more]


def setting(**changes: object) -> Callable[[Place], None]:
    return lambda place: edit(place.adapter / CONFIG, **changes)


def tensor(name: str, *shape: int) -> Callable[[Place], None]:
    return lambda place: change_tensors(place.adapter / WEIGHTS, {name: torch.ones(shape)})


def lacking(name: str) -> Callable[[Place], None]:
    return lambda place: change_tensors(place.adapter / WEIGHTS, {}, name)


def wider_base(place: Place) -> None:
    shutil.rmtree(place.model)
    save_tiny(place.model, hidden_size=32)


SETTINGS: dict[str, tuple[dict[str, object], str]] = {
    "`peft_type` of prompts": ({"peft_type": "PROMPT_TUNING"}, "peft_type is 'PROMPT_TUNING'"),
    "`peft_type` LOHA": ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
    "a `peft_type` that is a number": ({"peft_type": 3}, "peft_type is 3"),
    "rank 10^6": ({"r": 10**6}, "r is 1000000"),
    "rank 10^100": ({"r": 10**100}, "r is 1"),
    "rank 0": ({"r": 0}, "r is 0"),
    "rank -1": ({"r": -1}, "r is -1"),
    "a rank of true": ({"r": True}, "r is True"),
    "a rank of 4.0": ({"r": 4.0}, "r is 4.0"),
    "a rank that is a text": ({"r": "4"}, "r is '4'"),
    "a rank that the tensors do not have": ({"r": 8000}, "lora_A.weight has shape (4, 24) (8000, 24)"),
    "`lora_alpha` NaN": ({"lora_alpha": float("nan")}, "NaN"),
    "`lora_alpha` infinite": ({"lora_alpha": float("inf")}, "Infinity"),
    "`lora_alpha` 0": ({"lora_alpha": 0}, "lora_alpha is 0"),
    "`lora_alpha` -8": ({"lora_alpha": -8}, "lora_alpha is -8"),
    "`lora_alpha` that is a text": ({"lora_alpha": "8"}, "lora_alpha is '8'"),
    "`use_rslora` that is a text": ({"use_rslora": "yes"}, "use_rslora"),
    "`lora_alpha` 10^300": ({"lora_alpha": 1e300}, "lora_alpha is 1e+300"),
}
EXPRESSIONS = ("(a+)+$", "(.*a){30}", "([a-z._0-9]+)+!")


def expression(text: str) -> Callable[[Place], None]:
    return setting(target_modules=text, exclude_modules=text, layers_pattern=text)


def names_modules(place: Place, ended: Ended) -> None:
    finds()(place, ended)
    if not place.out.exists():  # it was evaluated
        return
    written = json.loads((place.out / CONFIG).read_text())
    assert not any(text in json.dumps(written) for text in EXPRESSIONS)
    assert "model.layers.1.mlp.down_proj" in written["target_modules"] and len(written["target_modules"]) == 14


BASES: dict[str, object] = {
    "another repository": "org/name",
    "an absolute path": "/etc",
    "a path upwards": "../elsewhere",
    "an address": "https://evil.example/x",
    "an empty name": "",
    "none": None,
    "a number": 3,
}
FOLLOWED = ("another repository", "an absolute path")
"""Are fetched or opened if they are to be trusted."""
NEEDED = ("needs its base model", "pass --base")


def records_the_base(place: Place, ended: Ended) -> None:
    base = json.loads((place.out / "result.json").read_text())["source"]["base"]
    assert len(base["files"]["model.safetensors"]) == 64 and "elsewhere" not in base["reference"]


PARTS: dict[str, object] = {
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [3],
    "use_dora": True,
    "lora_bias": True,
    "bias": "all",
    "target_parameters": ["mlp.experts"],
    "init_lora_weights": "pissa",
    "fan_in_fan_out": True,
    "a_new_part": 1,
}
TENSORS = {
    "an output layer": "base_model.model.lm_head.weight",
    "a module that was saved": "base_model.model.lm_head.modules_to_save.weight",
    "an embedding": "base_model.model.model.embed_tokens.lora_embedding_A",
    "a vector of DoRA": f"{Q0}.lora_magnitude_vector.weight",
    "a bias": f"{Q0}.lora_B.bias",
    "indices of tokens": "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
}
BOMBS: dict[str, dict[str, object]] = {
    "rank 10^6": {"rank_pattern": {"down_proj": 10**6}},
    "20,000 ranks": {"rank_pattern": {f"m{number}": 4 for number in range(20_000)}},
    "a catastrophic expression for ranks": {"rank_pattern": {"(a+)+$": 4}},
    "an expression of 1,000 characters": {"rank_pattern": {"x" * 1000: 4}},
    "a catastrophic expression for scales": {"alpha_pattern": {"(a|aa)+$": 4}},
    "a negative scale": {"alpha_pattern": {"down_proj": -1}},
    "a scale of 2,000,000": {"alpha_pattern": {"down_proj": 2e6}},
    "patterns in a list": {"rank_pattern": [1]},
    "patterns that are none": {"alpha_pattern": "all"},
    "`layer_replication` of 10^9": {"layer_replication": [[0, 10**9]]},
    "a `cache_file` of CorDA": {"corda_config": {"cache_file": "/tmp/evil.pt"}},
    "a `cache_file` of LoRA-GA": {"lora_ga_config": {"cache_file": "/tmp/evil.pt"}},
    "code (`auto_map`)": {"auto_map": {"AutoModel": "evil"}},
    "settings of EVA": {"eva_config": {"rho": 2.0}},
    "settings of LoftQ": {"loftq_config": {"loftq_bits": 4}},
    "settings of Arrow": {"arrow_config": {"top_k": 3}},
    "settings of Megatron": {"megatron_config": {"x": 1}},
}


def adapters_in_subfolders(place: Place) -> None:
    shutil.move(place.adapter, place.root / "both" / "one")
    shutil.copytree(place.root / "both" / "one", place.root / "both" / "two")


def default_and_another(place: Place) -> None:
    """As peft saves several adapters of one model."""
    shutil.copytree(place.adapter, place.adapter / "second")


def training_checkpoints(place: Place) -> None:
    """As a trainer leaves them beside the adapter that it ended with."""
    for step in (100, 200):
        shutil.copytree(place.root / "adapter", place.root / f"checkpoint-{step}")
    for step in (100, 200):
        shutil.move(place.root / f"checkpoint-{step}", place.adapter)


def model_and_adapter(place: Place) -> None:
    for path in place.model.iterdir():
        (place.adapter / path.name).write_bytes(path.read_bytes())


ROWS = (
    Row(
        27,
        "Settings of an adapter beyond reason",
        "Refused with the field, before anything is allocated.",
        tuple(
            Case(
                name,
                setting(**changes),
                (CONFIG if "has shape" not in named else "adapter", *named.split(" (8000")[:1]),
                of="adapter",
            )
            for name, (changes, named) in SETTINGS.items()
        ),
    ),
    Row(
        28,
        "A catastrophic regular expression in `target_modules`",
        "It is not matched at all: which modules an adapter has is told by its tensors, and the copy names those.",
        tuple(
            Case(
                f"`{text}`", expression(text), (), DONE, after=names_modules if number == 0 else finds(), of="adapter"
            )
            for number, text in enumerate(EXPRESSIONS)
        ),
        decision="It could be matched under a limit of time and then refused; but nothing needs it.",
    ),
    Row(
        29,
        "An adapter that names its base",
        "The name is not followed: the base has to be given, its shapes are compared, and its hashes are recorded.",
        (
            *(
                Case(name, setting(base_model_name_or_path=named), NEEDED, 4, without_base())
                for name, named in BASES.items()
            ),
            *(
                Case(
                    f"{name}, to be trusted",
                    setting(base_model_name_or_path=named),
                    NEEDED,
                    4,
                    without_base("--trust-named-base"),
                    shown=False,
                )
                for name, named in BASES.items()
                if name not in FOLLOWED
            ),
            Case("a base of other shapes", wider_base, ("has shape", "ask for"), of="adapter"),
            Case(
                "recorded",
                setting(base_model_name_or_path="../elsewhere"),
                (),
                DONE,
                ADAPTER,
                records_the_base,
                shown=False,
            ),
            Case(
                "scan",
                setting(base_model_name_or_path=BASES["an address"]),
                (),
                1,
                SCAN,
                scan_finds("base-address"),
                shown=False,
            ),
        ),
        "`--base MODEL` names it; `--trust-named-base` follows a folder or a hub id",
        "An adapter holds no hash of its base to compare with: the hashes of the base that is used are recorded, and"
        " `verify` and `reproduce` tell another. It ends with 4, as a missing option does: the adapter has no fault,"
        " and its base is the user's to name.",
    ),
    Row(
        30,
        "Parts of an adapter besides its factors",
        "Refused by name, as a setting and as a tensor: they are not purified, so they are not passed on.",
        (
            *(
                Case(f"`{part}`", setting(**{part: value}), (CONFIG, part), of="adapter")
                for part, value in PARTS.items()
            ),
            *(Case(name, tensor(stored, 4, 16), (stored,), of="adapter") for name, stored in TENSORS.items()),
        ),
    ),
    Row(
        31,
        "Tensors of an adapter that fit neither the base nor each other",
        "Refused with the tensor and both shapes; nothing is loaded in part.",
        (
            Case(
                "a layer that is not there",
                tensor(f"{Q0.replace('.0.', '.9.')}.lora_A.weight", 4, 16),
                ("layers.9.self_attn.q_proj",),
                of="adapter",
            ),
            Case(
                "names without peft's prefix",
                tensor("model.layers.0.self_attn.q_proj.lora_A.weight", 4, 16),
                ("model.layers.0.self_attn.q_proj.lora_A.weight",),
                of="adapter",
            ),
            Case(
                "another rank in B",
                tensor(f"{Q0}.lora_B.weight", 16, 5),
                ("lora_B.weight has shape (16, 5)", "(16, 4)"),
                of="adapter",
            ),
            Case(
                "another rank in A",
                tensor(f"{Q0}.lora_A.weight", 5, 16),
                ("lora_A.weight has shape (5, 16)", "(4, 16)"),
                of="adapter",
            ),
            Case("A without B", lacking(f"{Q0}.lora_B.weight"), ("lora_B.weight is missing",), of="adapter"),
            Case("B without A", lacking(f"{Q0}.lora_A.weight"), ("lora_A.weight is missing",), of="adapter"),
        ),
    ),
    Row(
        32,
        "Patterns and settings of an adapter that would cost memory or read files",
        "Refused with the field.",
        tuple(
            Case(name, setting(**changes), (CONFIG, next(iter(changes)).partition("_pattern")[0]), of="adapter")
            for name, changes in BOMBS.items()
        ),
    ),
    Row(
        33,
        "Several adapters, or a model and an adapter, in one folder",
        "The message asks for a choice and names what there is. Checkpoints of a training (`checkpoint-100`)"
        " beside an adapter are no choice.",
        (
            Case(
                "adapters in subfolders",
                adapters_in_subfolders,
                ("adapters in subfolders", "name one of one, two"),
                4,
                purify(of="both"),
            ),
            Case("an adapter and another in a subfolder", default_and_another, ("second",), 4, of="adapter"),
            Case("a model and an adapter", model_and_adapter, ("a model and an adapter",), 4, of="adapter"),
            Case("scan", model_and_adapter, ("a model and an adapter",), 4, SCAN, shown=False),
            Case(
                "checkpoints beside an adapter",
                training_checkpoints,
                (),
                DONE,
                after=finds(),
                of="adapter",
                shown=False,
            ),
        ),
    ),
)
