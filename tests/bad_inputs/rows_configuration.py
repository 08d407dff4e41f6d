"""Rows 14 to 18: configurations."""

from __future__ import annotations

import os
from collections.abc import Callable

from cases import DONE, PURIFY, Case, Ended, Place, Row, finds, scan, scan_finds
from rows_weights import WEIGHTS
from safetensors.torch import load_file

from hostile import change_tensors, edit
from tiny import save_tiny

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
CODE: dict[str, object] = {
    "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"},
    "trust_remote_code": True,
    "_attn_implementation_internal": "evil/repo",
    "_attn_implementation": "evil/repo",
    "attn_implementation": {"": "evil/repo"},
    "experts_implementation": "evil/repo",
    "_experts_implementation_internal": "evil",
    "kernel_hub_repo": "evil/repo",
    "custom_pipelines": {"evil": {"impl": "evil.Evil"}},
}
DEEP = {"text_config": {"deeper": [{"trust_remote_code": True}]}}


def setting(file: str = CONFIG, **changes: object) -> Callable[[Place], None]:
    return lambda place: edit(place.model / file, **changes)


def with_code(place: Place) -> None:
    """As a model comes that brings its own code."""
    (place.model / "modeling_evil.py").write_text(f"import os\nos.mkdir({str(place.opened)!r})\nclass Evil: pass\n")
    edit(place.model / CONFIG, auto_map=CODE["auto_map"])


def holding(content: bytes, file: str = CONFIG) -> Callable[[Place], object]:
    return lambda place: (place.model / file).write_bytes(content)


def large(file: str) -> Callable[[Place], None]:
    return lambda place: os.truncate(place.model / file, 500_000_000)


BROKEN: dict[str, bytes] = {
    "no JSON": b"{",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "`NaN`": b'{"rms_norm_eps": NaN}',
    "`-Infinity`": b'{"rms_norm_eps": -Infinity}',
    "a number that overflows": b'{"rms_norm_eps": 1e999}',
    "duplicate keys": b'{"hidden_size": 16, "hidden_size": 17}',
    "duplicate keys deep inside": b'{"x": [{"a": 1, "a": 2}]}',
    "a million levels": b'{"a": ' + b"[" * 1_000_000,
    "a list": b"[]",
    "an integer of 100,000 digits": b'{"hidden_size": ' + b"9" * 100_000 + b"}",
}
SIZES: dict[str, tuple[dict[str, object], str]] = {
    "another hidden size": ({"hidden_size": 32}, "shape (24, 16)"),
    "a hidden size of 2^62": ({"hidden_size": 2**62}, "shape (24, 16)"),
    "another width of the MLP": ({"intermediate_size": 10**12}, "shape (24, 16)"),
    "more layers": ({"num_hidden_layers": 3}, "model.layers.2.mlp.gate_proj.weight is missing"),
    "fewer layers": ({"num_hidden_layers": 1}, "belongs to no part"),
    "10^9 layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    "10^9 heads": ({"num_attention_heads": 10**9}, "asks for"),
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads"),
    "heads of 10^9": ({"head_dim": 10**9}, "asks for"),
    "10^12 tokens": ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
    "a token more": ({"vocab_size": 265}, "asks for (265, 16)"),
    "10^9 labels": ({"num_labels": 10**9}, "num_labels is 1000000000"),
    "more heads of keys and values": ({"num_key_value_heads": 4}, "shape (8, 16)"),
    "biases that are not there": ({"attention_bias": True}, "q_proj.bias is missing"),
    "a size that is a text": ({"hidden_size": "16"}, "hidden_size"),
    "a switch that is a text": ({"tie_word_embeddings": "yes"}, "no valid llama configuration"),
    "a number that is a text": ({"rms_norm_eps": "x"}, "no valid llama configuration"),
    "an activation that is none": ({"hidden_act": "evil"}, "no model can be built"),
}
KINDS: dict[str, object] = {
    "a new `model_type`": "a_new_one",
    "an encoder (`bert`)": "bert",
    "an encoder and decoder (`t5`)": "t5",
    "vision (`llava`)": "llava",
    "vision (`gemma3`)": "gemma3",
    "a mixture of experts (`mixtral`)": "mixtral",
    "a mixture of experts (`qwen2_moe`)": "qwen2_moe",
    "a state space model (`mamba`)": "mamba",
    "none": None,
    "a number": 3,
}


def tied(place: Place) -> None:
    (place.model / WEIGHTS).unlink()
    save_tiny(place.model, tie_word_embeddings=True)


def tied_with_head(*, same: bool) -> Callable[[Place], None]:
    """The output layer is stored beside the embedding that it is tied to."""

    def spoil(place: Place) -> None:
        tied(place)
        rows = load_file(place.model / WEIGHTS)["model.embed_tokens.weight"]
        change_tensors(place.model / WEIGHTS, {"lm_head.weight": rows.clone() if same else rows.flip(0)})

    return spoil


def untied_without_head(place: Place) -> None:
    tied(place)
    edit(place.model / CONFIG, tie_word_embeddings=False)


def keeps_names(place: Place, ended: Ended) -> None:
    finds()(place, ended)
    assert load_file(place.out / WEIGHTS).keys() == load_file(place.model / WEIGHTS).keys()


def keeps_the_tie(place: Place, ended: Ended) -> None:
    keeps_names(place, ended)
    written = load_file(place.out / WEIGHTS)
    assert written.get("lm_head.weight", written["model.embed_tokens.weight"]).equal(
        written["model.embed_tokens.weight"]
    )


ROWS = (
    Row(
        14,
        "A configuration that brings code or names a place to fetch it from",
        "Refused with the file and the field; nothing is imported and nothing is fetched.",
        (
            *(
                Case(f"`{key}`", setting(**{key: value}), (CONFIG, f"{key} is not accepted"))
                for key, value in CODE.items()
            ),
            Case("a key deep inside", setting(**DEEP), (CONFIG, "trust_remote_code is not accepted")),
            Case("`auto_map` with its `.py` file", with_code, (CONFIG, "auto_map is not accepted")),
            *(
                Case(f"`{key}` in `{file}`", setting(file, **{key: CODE[key]}), (file, f"{key} is not accepted"))
                for file in (GENERATION, TOKENIZER)
                for key in ("auto_map", "trust_remote_code")
            ),
            Case("scan", with_code, ("auto_map", "modeling_evil.py"), 3, scan(), scan_finds("code"), shown=False),
        ),
    ),
    Row(
        15,
        "A configuration that is no plain JSON object",
        "Refused; more than 10 MB (100 MB of a tokenizer) are not read.",
        (
            *(Case(name, holding(content), (CONFIG,)) for name, content in BROKEN.items()),
            *(
                Case(f"{name} in `{GENERATION}`", holding(content, GENERATION), (GENERATION,), shown=False)
                for name, content in BROKEN.items()
            ),
            *(
                Case(f"500 MB in `{file}`", large(file), (file, "500000000 bytes"))
                for file in (CONFIG, "tokenizer.json", TOKENIZER)
            ),
        ),
    ),
    Row(
        16,
        "Sizes in `config.json` that the tensors do not have",
        "Refused before anything is allocated by them.",
        tuple(Case(name, setting(**changes), (named,)) for name, (changes, named) in SIZES.items()),
    ),
    Row(
        17,
        "A kind of model that is not supported",
        "Refused with the list of those that are; mixtures of experts are not.",
        tuple(
            Case(name, setting(model_type=kind), ("model_type", "llama, mistral, qwen2"))
            for name, kind in KINDS.items()
        ),
    ),
    Row(
        18,
        "Tied and untied embeddings, with and without `lm_head`",
        "They work, and the copy has the names and the tie of the original.",
        (
            Case("untied", lambda place: None, (), DONE, PURIFY, keeps_names),
            Case("tied, without `lm_head`", tied, (), DONE, PURIFY, keeps_the_tie),
            Case("tied, with the same `lm_head`", tied_with_head(same=True), (), DONE, PURIFY, keeps_the_tie),
            Case("tied, with an `lm_head` of other values", tied_with_head(same=False), ("ties the output layer",)),
            Case("untied, without `lm_head`", untied_without_head, ("lm_head.weight is missing",)),
        ),
        decision="An untied model without its output layer is refused: a library would invent one. So is a tied"
        " one with two: which of them counts depends on the library.",
    ),
)
