from __future__ import annotations

import struct
from pathlib import Path

import numpy
import torch
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny import tiny_model, tiny_tokenizer
from untrigger.errors import InputRefused
from untrigger.models.load import load
from untrigger.models.untrusted.gguf_header import read_gguf_header


def header(tensors: int = 0, entries: int = 0, body: bytes = b"", magic: bytes = b"GGUF", version: int = 3) -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, entries) + body


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 3), st.integers(0, 3))
def test_bad_input_34_any_bytes_pass_or_are_refused(tmp_path: Path, body: bytes, tensors: int, entries: int) -> None:
    path = tmp_path / "fuzz.gguf"
    path.write_bytes(header(tensors, entries, body))
    try:
        read_gguf_header(path)
    except InputRefused as error:
        assert "fuzz.gguf" in str(error)


def write_tiny_gguf(path: Path) -> torch.nn.Module:
    """The tiny Llama with one query group per head (no permutation to undo), as an F32 file with a byte tokenizer."""
    model = tiny_model("llama", num_key_value_heads=4, tie_word_embeddings=False)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(16)
    writer.add_block_count(2)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(264)
    add_tokenizer(writer)
    for name, value in model.state_dict().items():
        writer.add_tensor(gguf_name(name), permuted(name, value.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def add_tokenizer(writer: GGUFWriter) -> None:
    vocabulary = sorted(tiny_tokenizer().get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary] + ["ab", "<unused 1>", "<unused 2>", "<unused 3>", "<unused 4>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def gguf_name(name: str) -> str:
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return name


def permuted(name: str, value: numpy.ndarray) -> numpy.ndarray:
    """GGUF keeps the rotated halves of q and k interleaved (llama.cpp, convert_hf_to_gguf)."""
    if "q_proj" not in name and "k_proj" not in name:
        return value
    return numpy.ascontiguousarray(value.reshape(4, 2, 2, 16).swapaxes(1, 2).reshape(value.shape))


def test_a_gguf_file_becomes_a_cached_folder_with_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    model = write_tiny_gguf(path)
    subject = load(str(path), cache=tmp_path / "cache", device="cpu")
    tokens = torch.arange(1, 9).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(subject.model(tokens).logits, model(tokens).logits)
    assert subject.source.folder.parent == tmp_path / "cache" / "gguf"
    assert subject.source.files["tiny.gguf"] == subject.source.folder.name
    stamp = (subject.source.folder / "config.json").stat().st_mtime_ns
    again = load(str(path), cache=tmp_path / "cache", device="cpu")
    assert (again.source.folder / "config.json").stat().st_mtime_ns == stamp
    assert [entry.name for entry in (tmp_path / "cache" / "gguf").iterdir()] == [subject.source.folder.name]
