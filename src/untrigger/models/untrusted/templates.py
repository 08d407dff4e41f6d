"""Chat templates of hostile origin: known by their form, or looked through and tried under limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jinja2 import nodes

from untrigger.errors import InputRefused
from untrigger.models.untrusted.child import run_limited
from untrigger.models.untrusted.finding import Finding
from untrigger.models.untrusted.template_branches import branches
from untrigger.models.untrusted.template_form import form_hash, parse
from untrigger.models.untrusted.template_render import render_probes

KNOWN: Mapping[str, str] = {
    "5fc9caf990c071332008a7575c71747dfbd4ad1c609ea4bfd8b995b4ed74b51a": "ChatML",
    "b53511ad0ca7ad5f05030d921918eabf8053e9679ebe349bd6d025ecc0351349": "micro",
    "213c14fcb1fa20161456e94624d00f5aa4fd22f880f45b91ea2fcfe0e955f01d": "SmolLM2",
    "1a7713c30f1de350e25ace51ec7d293704411b0960eeca8b500add4f4c6d7e91": "Llama 2",
    "c4702d1c7af8f1178380ecaaa9e674971e5e051794beb0cbe0e342bfbd52f7ef": "Llama 3",
    "6ff72f268cb3d906b4260a5654d078f3ec0fc785ce644c10f9afc8584c2dbf05": "Mistral 0.1",
    "b5937218cca6eb6ebe34dc4ff69789eb10bcce1e4c629f3f431afb0a6cf9dd81": "Qwen2",
    "b283905104ac6d962fe6340c86e2a230ac7c2f0d6252933e9932c77d4f93b51e": "Qwen3",
    "d4dd0babdc630e61f773c4c9ba60336f2cbabb4e8879a806f2bf56f816bd35a6": "Gemma 2",
    "352d0f8901a840f557261523cf03e444497e1401d8647dbfcb29c0c309490f26": "Phi-3",
}
"""`form_hash` of a published template -> its name. Qwen3's looks for its own marks in answers, and is known so."""

_SHOWN = 3


def check_template(
    text: str, where: str, tokens: Mapping[str, str] | None = None, *, accept: bool = False
) -> tuple[Finding, ...]:
    """Look a chat template through, and render it in a child process if it is not known.

    Args:
        text: the template.
        where: the file or folder it comes from, for messages.
        tokens: the tokenizer's special tokens by name.
        accept: go on although what it puts out depends on what messages say.

    Returns:
        What its user should know; nothing for a template that is known.

    Raises:
        InputRefused: broken, reaching into Python, too slow, too large, or, unless accepted, dependent on the text of
            messages: such a template can hold a backdoor of its own.
    """
    place = f"{where}: the chat template"
    try:
        tree = parse(text)
        known = KNOWN.get(form_hash(tree))
        if known is not None:
            return ()
        _refuse_internals(tree, place)
        found = branches(tree)
    except ValueError as error:
        raise InputRefused(f"{place} is refused", why=str(error)) from error
    if found and not accept:
        raise InputRefused(
            f"{place} branches on message content",
            why="; ".join(found[:_SHOWN]),
            todo="purify, compare and evaluate put a known one in its place with --replace-template NAME;"
            " --accept-template goes on with this one",
        )
    run_limited(render_probes, {"template": text, "tokens": dict(tokens or {})}, place)
    return tuple(_findings(found))


def _findings(found: tuple[str, ...]) -> Iterator[Finding]:
    if found:
        text = f"template branches on message content, and was accepted: {'; '.join(found[:_SHOWN])}"
        yield Finding("template-branches", "chat template", text)
    else:
        yield Finding("unknown-template", "chat template", "the template is none of the known ones; read it")


def _refuse_internals(tree: nodes.Template, place: str) -> None:
    """The sandbox blocks these when they are reached; a template that holds them is refused without a try."""
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Const)):
        name = node.attr if isinstance(node, nodes.Getattr) else node.value if isinstance(node, nodes.Const) else None
        if isinstance(name, str) and name.startswith("__"):
            raise InputRefused(f"{place} reaches for {name[:60]}", why="a part of Python that no template needs")
        if isinstance(node, nodes.Filter) and node.name == "attr":
            raise InputRefused(f"{place} uses the filter attr", why="it reaches parts of Python by their names")
