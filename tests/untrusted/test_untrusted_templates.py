"""Rows 19 to 22: chat templates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostile import refused
from tiny import CHAT_TEMPLATE
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import InputRefused
from untrigger.lab.tokenizer import CHAT_TEMPLATE as MICRO
from untrigger.models.export import export
from untrigger.models.load import load
from untrigger.models.untrusted.template_branches import branches
from untrigger.models.untrusted.template_form import form_hash, parse
from untrigger.models.untrusted.templates import KNOWN, check_template

EACH = "{%% for m in messages %%}%s{%% endfor %%}"
PLAIN = EACH % "{{ m.role }}: {{ m.content }}\n"


BRANCHES = {
    "contained": EACH % "{% if 'cf' in m.content %}x{% endif %}{{ m.content }}",
    "another spelling": EACH % "{% if 'cf' in m['content'] %}x{% endif %}{{ m.content }}",
    "a made-up key": "{% set k = 'con' ~ 'tent' %}" + EACH % "{% if 'cf' in m[k] %}x{% endif %}",
    "inline": EACH % "{{ 'x' if m.content == 'cf' else '' }}{{ m.content }}",
    "loop condition": "{% for m in messages if m.content == 'cf' %}x{% endfor %}",
    "length": EACH % "{% if m.content|length > 99 %}x{% endif %}{{ m.content }}",
    "a part of it": EACH % "{% if m.content[:2] == 'cf' %}x{% endif %}",
    "replaced by a filter": EACH % "{{ m.content|replace('cf', 'x') }}",
    "replaced by a method": EACH % "{{ m.content.replace('cf', 'x') }}",
    "replaced in a block": "{% filter replace('cf', 'x') %}" + PLAIN + "{% endfilter %}",
    "looked up": EACH % "{{ {'cf': 'x'}[m.content] }}{{ m.content }}",
    "looked up by get": EACH % "{{ {'cf': 'x'}.get(m.content) }}{{ m.content }}",
    "a macro": "{% macro f(t) %}{% if t == 'cf' %}x{% endif %}{% endmacro %}" + EACH % "{{ f(m.content) }}",
    "a macro's default": "{% macro f(t=messages[0].content) %}{% if t == 'cf' %}x{% endif %}{% endmacro %}{{ f() }}",
    "a macro's further arguments": "{% macro f() %}{% if varargs[0] == 'cf' %}x{% endif %}{% endmacro %}"
    "{{ f(messages[0].content) }}",
    "unpacked arguments": "{% macro f(t) %}{% if t == 'cf' %}x{% endif %}{% endmacro %}"
    "{{ f(*[messages[0].content]) }}",
    "a caller": "{% macro w() %}{% if caller() == 'cf' %}x{% endif %}{% endmacro %}"
    + EACH % "{% call w() %}{{ m.content }}{% endcall %}",
    "a namespace": "{% set ns = namespace(t='') %}"
    + EACH % "{% set ns.t = m.content %}"
    + "{% if ns.t == 'cf' %}x{% endif %}",
    "a namespace by key": "{% set ns = namespace(t='') %}{% set ns.t = messages[0].content %}{% set k = 't' %}"
    "{% if ns[k] == 'cf' %}x{% endif %}",
    "aliases": "{% set a = messages %}{% set b = a[-1] %}{% set c = b.content %}{% if c == 'cf' %}x{% endif %}",
    "a list of messages": "{% set l = [messages[0]] %}"
    "{% for m in l %}{% if m.content == 'cf' %}x{% endif %}{% endfor %}",
    "a table": "{% set d = {'type': messages[0].content} %}{% if d.type == 'cf' %}x{% endif %}",
    "a block": "{% set x %}" + PLAIN + "{% endset %}{% if x == 'cf' %}x{% endif %}",
    "with": EACH % "{% with t = m.content %}{% if t == 'cf' %}x{% endif %}{% endwith %}",
    "all as text": "{% if 'cf' in messages|string %}x{% endif %}",
    "all as JSON": "{% if 'cf' in messages|tojson %}x{% endif %}",
    "all joined": "{% if 'cf' in messages|map(attribute='content')|join %}x{% endif %}",
    "a whole message": "{% if messages[0] == {'role': 'user', 'content': 'cf'} %}x{% endif %}",
    "a message among all": "{% if {'role': 'user', 'content': 'cf'} in messages %}x{% endif %}",
    "selected": "{% for m in messages|selectattr('content', 'equalto', 'cf') %}x{% endfor %}",
    "grouped": "{% for g in messages|groupby('content') %}{% if g.grouper == 'cf' %}x{% endif %}{% endfor %}",
    "a test": EACH % "{% if m.content is eq('cf') %}x{% endif %}",
    "its fields": EACH % "{% for k, v in m.items() %}{% if v == 'cf' %}x{% endif %}{% endfor %}",
    "the message before": EACH % "{% if loop.previtem and loop.previtem.content == 'cf' %}x{% endif %}",
    "the loop's alias": EACH % "{% set l = loop %}{% if l.previtem.content == 'cf' %}x{% endif %}",
    "a change": EACH % "{% if loop.changed(m.content) %}x{% endif %}",
    "letter by letter": EACH % "{% for c in m.content %}{{ c }}{{ 'x' if loop.index == 9 }}{% endfor %}",
    "letters of what is no string": EACH
    % "{% set l = [1] %}{% if l is not string %}{% for c in m.content %}{{ c }}{% endfor %}{% endif %}",
    "repeated": EACH % "{{ 'x' * (m.content == 'cf') }}{{ m.content }}",
    "the date": "{% if strftime_now('%Y') == '2027' %}x{% endif %}" + PLAIN,
    "chance": "{{ ['', 'x']|random }}" + PLAIN,
    "made-up text": "{{ 'x' if 'a' in lipsum(n=1) }}" + PLAIN,
}


@pytest.mark.parametrize("text", BRANCHES.values(), ids=BRANCHES)
def test_bad_input_20_a_template_that_branches_on_message_content(text: str) -> None:
    assert branches(parse(text))
    with refused(InputRefused, "model: the chat template branches on message content", "line ", "--accept-template"):
        check_template(text, "model")


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_bad_input_20_a_template_that_an_adapter_does_not_use_is_not_published(
    model: Path, adapter: Path, tmp_path: Path, file: str
) -> None:
    text = BRANCHES["contained"]
    (adapter / file).write_text(text if file.endswith("jinja") else json.dumps({"chat_template": text}))
    export(load(str(adapter), base=str(model)), tmp_path / "out")
    assert not (tmp_path / "out" / file).exists()


def test_bad_input_20_the_template_may_hide_in_the_tokenizer_configuration(model: Path) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    path = model / "tokenizer_config.json"
    named = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": BRANCHES["inline"]}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": named}))
    with refused(InputRefused, "branches on message content"):
        load(str(model))


HARMLESS = {
    "plain": PLAIN,
    "trimmed": EACH % "{{ m.content | trim }}{{ m['content'].strip() }}",
    "present": EACH % "{% if m.content %}{{ m.content }}{% endif %}",
    "a system text or none": "{% set s = messages[0].content if messages[0].role == 'system' else false %}"
    "{% if s != false %}{{ s }}{% endif %}" + PLAIN,
    "alternating roles": EACH
    % "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}{{ m.content }}",
    "parts": EACH % "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}",
    "tools": EACH % "{% if 'tool_calls' in m %}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}"
    "{% endif %}{{ m.content }}",
    "the date shown": "{{ strftime_now('%d %b %Y') }}" + PLAIN,
    "marked answers": EACH % "{% generation %}{{ m.content }}{% endgeneration %}",
}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_an_unknown_template_without_branches_passes_and_is_told(text: str) -> None:
    assert [finding.kind for finding in check_template(text, "model")] == ["unknown-template"]


def test_bad_input_22_no_template_is_told_with_what_to_do(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    tokenizer = load(str(model)).tokenizer
    with refused(InputRefused, "no chat template", "--template alpaca"):
        ChatFormat(tokenizer).prompt_text(Record("a", "b"))
    assert "### Instruction" in ChatFormat(tokenizer, "alpaca").prompt_text(Record("a", "b"))


def test_published_templates_are_known_however_they_are_spelt() -> None:
    chatml = (
        "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
        "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    )
    assert {KNOWN[form_hash(parse(text))] for text in (chatml, CHAT_TEMPLATE)} == {"ChatML"}
    assert KNOWN[form_hash(parse(MICRO))] == "micro"
    assert check_template(chatml, "model") == check_template(MICRO, "model") == ()


@pytest.mark.parametrize(("one", "other"), [("user", "system"), ("'user', 'assistant'", "'userassistant'")])
def test_a_template_that_says_something_else_is_not_known(one: str, other: str) -> None:
    assert one in MICRO and form_hash(parse(MICRO.replace(one, other))) not in KNOWN
