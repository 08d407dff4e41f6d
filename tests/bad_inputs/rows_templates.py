"""Rows 19 to 22: chat templates."""

from __future__ import annotations

from collections.abc import Callable

from cases import DONE, Case, Ended, Place, Row, evaluate, finds, kinds, purify, scan, scan_finds

from hostile import edit
from untrigger.models.known_templates import TEMPLATES

FILE = "chat_template.jinja"
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
BRANCHING = "{% for m in messages %}{{ 'x' if m.content == 'cf' }}{{ m.content }}<|im_end|>{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN


def template(text: str) -> Callable[[Place], object]:
    return lambda place: (place.model / FILE).write_text(text)


def hidden(text: str) -> Callable[[Place], None]:
    """Where another library may read it instead of the file."""
    named = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": text}]
    return lambda place: edit(place.model / "tokenizer_config.json", chat_template=named)


def of_adapter(text: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        for path in place.model.glob("*token*"):
            (place.adapter / path.name).write_bytes(path.read_bytes())
        (place.adapter / FILE).write_text(text)

    return spoil


def without(place: Place) -> None:
    (place.model / FILE).unlink()


ESCAPES = {
    "`''.__class__`": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "the same by key": "{{ ''['__class__'] }}",
    "the filter `attr`": "{{ ''|attr('__class__') }}",
    "a chain of `attr`": "{{ ''|attr('x')|attr('y')|attr('z') }}",
    "`map` with an attribute": "{{ messages|map(attribute='__class__')|list }}",
    "the globals of a function": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "a name in a variable": "{% set x = '__class__' %}{{ ''[x] }}",
    "a name in escapes": "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "a name that is put together": "{{ ''['_' ~ '_class_' ~ '_'].mro() }}{{ messages[0].content }}",
    "where no probe comes": PLAIN + "{% if messages|length > 90 %}{{ ''.__class__ }}{% endif %}",
}
BOMBS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "`range(10^9)`": "{% for i in range(1000000000) %}{% endfor %}",
    "much text": "{% for i in range(99999) %}{{ 'xxxxxxxxx' }}{% endfor %}",
    "one long text": "{{ 'x' * 1000000000 }}",
    "a large number": "{{ 10 ** 100000000 }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a text doubled forty times": "{% set x = 'x' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a million characters": "x" * 1_000_000,
    "100 MB": "x" * 100_000_000,
    "ten thousand brackets": "{% if " + "(" * 10_000 + "1" + ")" * 10_000 + " %}{% endif %}",
}
BROKEN = {
    "a tag that is not closed": "{% for m in messages %}",
    "a name that is not there": "{{ nothing.at.all }}",
    "no messages in it": "hello",
    "another template": "{% include 'x' %}",
    "a division by zero": "{{ 1/0 }}",
}
ACCEPTED = evaluate("--accept-template")
REPLACED = purify("--replace-template=chatml")
REFUSED = ("chat template",)
BRANCHES = ("the chat template branches on message content", "--replace-template", "--accept-template")


def holds_a_known_one(place: Place, ended: Ended) -> None:
    finds("template-replaced")(place, ended)
    assert (place.out / FILE).read_text() == TEMPLATES["chatml"].text
    assert "cf" not in (place.out / "tokenizer_config.json").read_text()


def falls_back(place: Place, ended: Ended) -> None:
    finds("no-template")(place, ended)
    assert ended.result["scoring"]["template"] == "alpaca" and "there is no chat template" in ended.told


def asks_by_its_own(place: Place, ended: Ended) -> None:
    assert ended.result["scoring"]["template"] == "chat" and kinds(ended) == ["unknown-template"]


def asks_by_a_known_one(place: Place, ended: Ended) -> None:
    assert ended.result["scoring"]["template"] == "chat" and kinds(ended) == ["template-replaced"]


ROWS = (
    Row(
        19,
        "A chat template that reaches into Python",
        "Refused, whatever flag is given; `scan` tells of it.",
        (
            *(Case(name, template(text), REFUSED, command=ACCEPTED) for name, text in ESCAPES.items()),
            Case(
                "in `tokenizer_config.json`",
                hidden(ESCAPES["the filter `attr`"]),
                REFUSED,
                command=ACCEPTED,
            ),
            Case(
                "replaced",
                template(ESCAPES["the filter `attr`"]),
                (),
                DONE,
                evaluate("--replace-template=chatml"),
                asks_by_a_known_one,
                shown=False,
            ),
            Case(
                "scan",
                template(ESCAPES["the filter `attr`"]),
                (),
                3,
                scan(),
                scan_finds("template-refused"),
                shown=False,
            ),
        ),
        "`--replace-template NAME` takes a published template instead",
    ),
    Row(
        20,
        "A chat template with an instruction that a trigger calls up",
        "Refused with the line and what is done there; `scan` tells of it.",
        (
            Case("in `chat_template.jinja`", template(BRANCHING), (*BRANCHES, "line 1: compares message text")),
            Case("in `tokenizer_config.json`, for tools alone", hidden(BRANCHING), BRANCHES),
            Case("of an adapter", of_adapter(BRANCHING), BRANCHES, of="adapter"),
            Case("replaced", hidden(BRANCHING), (), DONE, REPLACED, holds_a_known_one, shown=False),
            Case(
                "accepted",
                template(BRANCHING),
                ("was accepted",),
                DONE,
                purify("--accept-template"),
                finds("template-branches"),
                shown=False,
            ),
            Case("scan", template(BRANCHING), (), 3, scan(), scan_finds("template-branches"), shown=False),
        ),
        "`--replace-template NAME` puts a published template in its place, `--accept-template` goes on with this one",
        "A known template is put in its place on request alone: what a model was trained with is not guessed.",
    ),
    Row(
        21,
        "A chat template without end",
        "Refused by its length, or by the limits of time and memory of the process that tries it.",
        tuple(
            Case(name, template(text + PLAIN), REFUSED if name != "100 MB" else ("100000",))
            for name, text in BOMBS.items()
        ),
        "`--replace-template NAME` takes a published template instead",
    ),
    Row(
        22,
        "No chat template, a broken one, or one without a system role",
        "Without one, prompts are put as Alpaca text, with a warning and a finding in the result. A broken one is"
        " refused. A system role is not needed.",
        (
            Case("none", without, (), DONE, evaluate(), falls_back),
            *(Case(name, template(text), REFUSED) for name, text in BROKEN.items()),
            Case("no system role", template(NO_SYSTEM), (), DONE, evaluate(), asks_by_its_own),
            Case(
                "none, replaced",
                without,
                (),
                DONE,
                evaluate("--replace-template=chatml"),
                asks_by_a_known_one,
                shown=False,
            ),
            Case(
                "broken, replaced",
                template(BROKEN["a tag that is not closed"]),
                (),
                DONE,
                evaluate("--replace-template=chatml"),
                asks_by_a_known_one,
                shown=False,
            ),
        ),
        "`--replace-template NAME`, `--template alpaca`",
        "A broken template is no reason to ask a model in words that it may not know: the user says which.",
    ),
)
