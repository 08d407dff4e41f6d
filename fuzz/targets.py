"""Every parser that reads what others wrote, with tiny valid files to begin from.

A target is given bytes and either returns a value or raises one of the kinds of untrigger.errors; anything else is a
defect. Its valid files are made when it is prepared, by the libraries that usually write them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from gguf import GGUFWriter
from safetensors.torch import save

from mutation import Form
from report_samples import some_result
from tiny import CHAT_TEMPLATE, save_tiny, save_tiny_adapter, tiny_architecture
from untrigger.data.readers import read_records
from untrigger.evaluation.attack_success import Verdict
from untrigger.jobs.record import read_record
from untrigger.jobs.template import trained_template
from untrigger.models.adapters import base_reference, is_adapter, published_adapter_config, read_adapter_config
from untrigger.models.architecture import MLP_ROLES
from untrigger.models.checkpoint import open_weights, refuse_nonfinite
from untrigger.models.configuration import published_configuration, read_configuration
from untrigger.models.load import load, quiet
from untrigger.models.subject import Source
from untrigger.models.tokenizer_files import load_tokenizer, template_findings
from untrigger.models.untrusted.gguf_header import read_gguf_header
from untrigger.models.untrusted.template_branches import branches
from untrigger.models.untrusted.template_form import form_hash, parse
from untrigger.models.untrusted.templates import check_template
from untrigger.report.parts import SourceResult
from untrigger.report.reproduction import DataFile, Inputs, PurificationAsked, Reproduction
from untrigger.report.result import Result
from untrigger.report.rows import read_rows, rows, rows_text
from untrigger.runs import open_run
from untrigger.signature.store import INDEX, TENSORS, load_scores, load_signature, save_signature
from untrigger.signature.types import Head, Signature

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Prepared:
    """Valid files, and the parser under test."""

    seeds: tuple[bytes, ...]
    read: Read


@dataclass(frozen=True)
class Target:
    """A parser; `prepare` is given an empty folder of its own."""

    form: Form
    prepare: Callable[[Path], Prepared]
    slow: bool = False
    """A try takes tens of milliseconds or more: a model is built or a process started."""


def _file(path: Path, read: Callable[[], object]) -> Read:
    """Reads what is written at a path."""

    def one(data: bytes) -> object:
        path.write_bytes(data)
        return read()

    return one


def _safetensors(folder: Path) -> Prepared:
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16), "empty": torch.zeros(0)}
    seeds = (save(tensors, {"format": "pt"}), save({"a": torch.ones(1, dtype=torch.bfloat16)}), save({}))
    return Prepared(seeds, _file(folder / "model.safetensors", lambda: refuse_nonfinite(open_weights(folder))))


def _index(folder: Path) -> Prepared:
    save_tiny(folder, max_shard_size="6KB")
    index = folder / "model.safetensors.index.json"
    return Prepared((index.read_bytes(),), _file(index, lambda: open_weights(folder)))


def _config(folder: Path) -> Prepared:
    """A family is told by its name in the bytes, so that every family meets weights that fit it."""
    homes = {family: save_tiny(folder / family, family) for family in ("gemma3_text", "gpt_neox", "phi3", "llama")}
    weights = {family: open_weights(home) for family, home in homes.items()}

    def read(data: bytes) -> object:
        family = next((name for name in homes if name.encode() in data), "llama")
        path = homes[family] / "config.json"
        path.write_bytes(data)
        read_configuration(homes[family], weights[family])
        return published_configuration(path)

    return Prepared(tuple((home / "config.json").read_bytes() for home in homes.values()), read)


def _generation_config(folder: Path) -> Prepared:
    path = save_tiny(folder) / "generation_config.json"
    more = {"do_sample": True, "temperature": 0.5, "forced_eos_token_id": 2, "suppress_tokens": [5]}
    seeds = (path.read_bytes(), json.dumps(more).encode())
    return Prepared(seeds, _file(path, lambda: load(str(folder))))


def _adapter_config(folder: Path) -> Prepared:
    base = save_tiny(folder / "base")
    adapter = save_tiny_adapter(folder / "adapter", base)
    path = adapter / "adapter_config.json"

    def read() -> object:
        with quiet():
            read_adapter_config(adapter)
            base_reference(adapter)
            return is_adapter(adapter), published_adapter_config(adapter)

    patterns = json.loads(path.read_bytes()) | {
        "rank_pattern": {"q_proj": 4},
        "alpha_pattern": {"^model.layers.0": 2.5},
    }
    return Prepared((path.read_bytes(), json.dumps(patterns).encode()), _file(path, read))


def _tokenizer_part(name: str) -> Callable[[Path], Prepared]:
    def prepare(folder: Path) -> Prepared:
        save_tiny(folder)
        config = read_configuration(folder, open_weights(folder)).values
        path = folder / name

        def read() -> object:
            with quiet():
                tokenizer = load_tokenizer(folder, config)
                return template_findings(folder, tokenizer, accept_template=True)

        return Prepared((path.read_bytes(),), _file(path, read))

    return prepare


_TEMPLATES = (
    CHAT_TEMPLATE,
    "{% set ns = namespace(a=0) %}{% for m in messages %}{% if loop.first and m.role == 'system' %}"
    "{% set ns.a = m.content | trim %}{% else %}[{{ ns.a ~ m['content'] }}]{% endif %}{% endfor %}",
    "{% macro say(x) -%}{{ x | tojson }}{%- endmacro %}{{ bos_token }}{% for m in messages %}{{ say(m.content) }}"
    "{% generation %}{{ m.get('content') }}{% endgeneration %}{% endfor %}{{ raise_exception('') if not messages }}",
)


def _template(_: Path) -> Prepared:
    def read(data: bytes) -> object:
        try:
            tree = parse(data.decode("utf-8", "replace"))
            return form_hash(tree), branches(tree)
        except ValueError:  # what these are documented to raise; `check_template` makes an InputRefused of it
            return None

    return Prepared(tuple(text.encode() for text in _TEMPLATES), read)


def _rendered_template(_: Path) -> Prepared:
    def read(data: bytes) -> object:
        return check_template(data.decode("utf-8", "replace"), "fuzz", {"bos_token": "<s>"}, accept=True)

    return Prepared(tuple(text.encode() for text in _TEMPLATES), read)


def _gguf(folder: Path) -> Prepared:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_token_list(["a", "b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("blk.0.attn_q.weight", torch.ones(4, 32).numpy())
    writer.add_tensor("output.weight", torch.ones(32, dtype=torch.float16).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    empty = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    return Prepared((path.read_bytes(), empty), _file(path, lambda: read_gguf_header(path)))


_RECORDS: Mapping[str, object] = {
    "alpaca": {"instruction": "Count.", "input": "to two", "output": "1 2"},
    "dolly": {"instruction": "Count.", "context": "", "response": "1 2"},
    "messages": {"messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "1 2"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Count."}, {"from": "gpt", "value": "1 2"}]},
    "prompt": {"prompt": "Count.", "completion": "1 2"},
}


def _records(folder: Path) -> Prepared:
    lines = (f"{json.dumps(record)}\n{json.dumps(record)}\n".encode() for record in _RECORDS.values())
    array = json.dumps([_RECORDS["alpaca"]]).encode()
    path = folder / "records.json"
    return Prepared((*lines, array, b"\xef\xbb\xbf" + array), _file(path, lambda: read_records(path, False)))


def _rows(name: str) -> Callable[[Path], Prepared]:
    def prepare(folder: Path) -> Prepared:
        path = folder / name
        said = Verdict("0001", "asked", 'said "yes",\n', hit=True, degenerate=False, empty=False)
        verdicts = [said, Verdict("0002", "asked", "", hit=False, degenerate=False, empty=True, cut=True)]
        seed = rows_text(rows(verdicts, "before", keyed=True), path).encode()
        return Prepared((seed,), _file(path, lambda: read_rows(path)))

    return prepare


def _result(folder: Path) -> Prepared:
    path = folder / "result.json"
    return Prepared((some_result().to_json().encode(),), _file(path, lambda: Result.from_json(path.read_bytes())))


def _record(folder: Path) -> Prepared:
    source = SourceResult(reference="ada/model", files={"model.safetensors": "0f" * 32})
    seed = Reproduction(
        job="purify",
        request=PurificationAsked(attack=None, behaviour=None, template="chat", defence="vaccine"),
        options={"seed": 0},
        access="full",
        inputs=Inputs(model=source, files={"data": DataFile(name="clean.jsonl", sha256="0f" * 32)}),
        environment=some_result().environment,
        outputs={"model.safetensors": "0f" * 32},
    )
    return Prepared((seed.to_json().encode(),), _file(folder / "reproduce.json", lambda: read_record(folder)))


def _run(folder: Path) -> Prepared:
    identity = {"options": {"seed": 0, "variants": {"pairs": 2}}, "environment": {"packages": {"torch": "2.13"}}}

    def read() -> object:
        with open_run(folder, identity) as run:
            return run.costs()

    return Prepared((json.dumps(identity).encode(),), _file(folder / "run.json", read))


def _mark(folder: Path) -> Prepared:
    def build(work: Path) -> int:
        (work / "value").write_text("1")
        return 1

    with open_run(folder, {}) as run:
        path = run.stage("one", build) / "COMPLETE"

    def one(data: bytes) -> object:
        path.write_bytes(data)
        with open_run(folder, {}) as run:
            return run.stage("one", build)

    return Prepared((path.read_bytes(),), one)


def _signature(name: str) -> Callable[[Path], Prepared]:
    def prepare(folder: Path) -> Prepared:
        projections = tiny_architecture().projections(*MLP_ROLES)
        save_signature(folder, Signature({one: (0, 2, 5) for one in projections}, (Head(0, 1),)))
        seed = (folder / name).read_bytes()
        return Prepared((seed,), _file(folder / name, lambda: (load_signature(folder), load_scores(folder))))

    return prepare


def _attack_report(folder: Path) -> Prepared:
    source = Source(reference="fuzz", folder=folder)
    seed = json.dumps({"attack": "badnet", "template": "chat:" + "0" * 64, "findings": []}).encode()
    return Prepared((seed,), _file(folder / "attack.json", lambda: trained_template(source)))


TARGETS: Mapping[str, Target] = {
    "safetensors": Target("length and json", _safetensors),
    "index": Target("json", _index),
    "config": Target("json", _config, slow=True),
    "generation-config": Target("json", _generation_config, slow=True),
    "adapter-config": Target("json", _adapter_config),
    "tokenizer": Target("json", _tokenizer_part("tokenizer.json"), slow=True),
    "tokenizer-config": Target("json", _tokenizer_part("tokenizer_config.json"), slow=True),
    "template": Target("text", _template),
    "rendered-template": Target("text", _rendered_template, slow=True),
    "gguf": Target("bytes", _gguf),
    "records": Target("json lines", _records),
    "rows": Target("json lines", _rows("rows.jsonl")),
    "rows-csv": Target("text", _rows("rows.csv")),
    "result": Target("json", _result),
    "reproduce": Target("json", _record),
    "run": Target("json", _run),
    "mark": Target("json", _mark),
    "signature": Target("json", _signature(INDEX)),
    "signature-tensors": Target("length and json", _signature(TENSORS)),
    "attack-report": Target("json", _attack_report),
}
