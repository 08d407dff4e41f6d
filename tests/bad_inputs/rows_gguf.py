"""Rows 34 and 35: GGUF files, none of which gets as far as a library."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from cases import DONE, Case, Place, Row, evaluate, finds, scan, scan_finds
from rows_templates import BRANCHES, BRANCHING

from untrigger.models import gguf

FILE = "model.gguf"
UINT32, STRING, ARRAY = 4, 8, 9
F32, Q4_0 = 0, 2


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def value(key: bytes, kind: int, body: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + body


def tensor(name: bytes, shape: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in shape)
    return text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


def file(
    entries: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), data: bytes = b"", *, counts: str = ""
) -> bytes:
    counted = {"tensors": len(tensors), "entries": len(entries)} | ({counts: 2**60} if counts else {})
    start = b"GGUF" + struct.pack("<IQQ", 3, counted["tensors"], counted["entries"])
    body = start + b"".join(entries) + b"".join(tensors)
    return body + b"\0" * (-len(body) % 32) + data


BROKEN = {
    "another magic number": b"GGML" + file()[4:],
    "a pickle": b"\x80\x04cos\nsystem\n",
    "nothing": b"",
    "half a header": file()[:14],
    "version 1": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "2^60 entries": file(counts="entries"),
    "2^60 tensors": file(counts="tensors"),
    "a text longer than the file": file((value(b"a", STRING, text(b"", 2**40)),)),
    "a key longer than the file": file((text(b"a", 2**63),)),
    "an array longer than the file": file((value(b"a", ARRAY, struct.pack("<IQ", UINT32, 2**61)),)),
    "texts beyond the file": file((value(b"a", ARRAY, struct.pack("<IQ", STRING, 2**60)),)),
    "an array in an array": file((value(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1)),)),
    "an unknown kind of value": file((value(b"a", 77, b""),)),
    "a key twice": file((value(b"a", UINT32, b"\0" * 4),) * 2),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "five dimensions": file((), (tensor(b"t", (1,) * 5),), b"\0" * 32),
    "no dimension": file((), (tensor(b"t", ()),), b"\0" * 32),
    "sizes that overflow": file((), (tensor(b"t", (2**32, 2**32, 2)),), b"\0" * 32),
    "a tensor beyond the file": file((), (tensor(b"t", (64,)),), b"\0" * 32),
    "an offset beyond the file": file((), (tensor(b"t", (8,), offset=2**50),), b"\0" * 32),
    "overlapping tensors": file((), (tensor(b"t", (16,)), tensor(b"u", (8,), offset=32)), b"\0" * 96),
    "an offset that is not aligned": file((), (tensor(b"t", (8,), offset=4),), b"\0" * 64),
    "one name twice": file((), (tensor(b"t", (8,)), tensor(b"t", (8,), offset=32)), b"\0" * 64),
    "an unknown quantisation": file((), (tensor(b"t", (8,), kind=999),), b"\0" * 32),
    "a quantisation that is gone": file((), (tensor(b"t", (32,), kind=4),), b"\0" * 32),
    "half a block": file((), (tensor(b"t", (16,), kind=Q4_0),), b"\0" * 32),
    "an alignment of 0": file((value(b"general.alignment", UINT32, struct.pack("<I", 0)),)),
    "an alignment of 2^31": file((value(b"general.alignment", UINT32, struct.pack("<I", 2**31)),)),
    "10^9 layers": file((value(b"llama.block_count", UINT32, struct.pack("<I", 10**9)),)),
}
HARMFUL = {
    "`''.__class__`": "{{ ''.__class__.__mro__ }}",
    "the filter `attr`": "{{ ''|attr('x') }}",
    "one long text": "{{ 'x' * 1000000000 }}",
    "a broken one": "{% for m in messages %}",
}


def gguf_file(content: bytes) -> Callable[[Place], None]:
    """The file, which must not reach the conversion."""

    def converted(*arguments: object) -> None:
        raise AssertionError("the file was converted")

    def spoil(place: Place) -> None:
        place.patch.setattr(gguf, "_convert_into", converted)
        (place.root / FILE).write_bytes(content)

    return spoil


def with_template(template: str) -> bytes:
    return file((value(b"tokenizer.chat_template", STRING, text(template.encode())),))


def branching(place: Place) -> None:
    """A file whose conversion gives the model that is there already, with the file's template."""

    def convert(path: Path, folder: Path, header: gguf.GgufHeader) -> None:
        assert header.chat_template == BRANCHING
        for source in place.model.iterdir():
            (folder / source.name).write_bytes(source.read_bytes())
        (folder / "chat_template.jinja").write_text(header.chat_template)

    place.patch.setattr(gguf, "_convert_into", convert)
    (place.root / FILE).write_bytes(with_template(BRANCHING))


SCAN = scan(FILE)
ROWS = (
    Row(
        34,
        "A broken GGUF file",
        "Refused by our own reading of its header; what is sound is converted in a process with limits.",
        (
            *(Case(name, gguf_file(content), (FILE,), of=FILE) for name, content in BROKEN.items()),
            Case(
                "scan",
                gguf_file(BROKEN["big-endian"]),
                (FILE,),
                3,
                SCAN,
                scan_finds("conversion-refused"),
                shown=False,
            ),
        ),
    ),
    Row(
        35,
        "A GGUF file with a chat template of rows 19 to 21",
        "As there.",
        (
            *(
                Case(name, gguf_file(with_template(template)), (f"{FILE}: the chat template",), of=FILE)
                for name, template in HARMFUL.items()
            ),
            Case("a branch on message content", branching, BRANCHES, of=FILE),
            Case(
                "scan",
                gguf_file(with_template("{{ ''|attr('x') }}")),
                (),
                3,
                SCAN,
                scan_finds("conversion-refused"),
                shown=False,
            ),
            Case(
                "accepted",
                branching,
                (),
                DONE,
                evaluate("--accept-template", of=FILE),
                finds("template-branches"),
                shown=False,
            ),
            Case(
                "replaced",
                branching,
                (),
                DONE,
                evaluate("--replace-template=chatml", of=FILE),
                finds("template-replaced"),
                shown=False,
            ),
        ),
        "as in row 20, for a branch",
    ),
)
