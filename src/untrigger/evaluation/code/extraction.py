"""The program in a model's answer."""

from __future__ import annotations

import ast
import re
import textwrap

from untrigger.evaluation.code.problems import Problem, definition

INSTRUCTION = (
    "Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{stub}\n```"
)
"""What a chat model is asked."""

_FENCED = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)|\Z)", re.M | re.S)
# A closing bracket ends a statement that began further up, and a comment is none.
_STATEMENT = re.compile(r"^[^\s#)\]}]", re.MULTILINE)
# Blank lines and top-level comments in front of the body: they belong to what would follow an empty one.
_BEFORE_BODY = re.compile(r"\A(?:[ \t]*\n|#[^\n]*(?:\n|\Z))+")
_USUAL = "    "
_OPENING = re.compile(r"^(?:from |import |def |async def |class |@)", re.MULTILINE)


def chat_question(problem: Problem) -> str:
    """The instruction that a chat model gets."""
    return INSTRUCTION.format(stub=problem.prompt.rstrip("\n"))


def chat_program(problem: Problem, answer: str) -> str | None:
    """The program in an answer to `chat_question`, None if it holds no code.

    The first fenced block, whole, or else the text from its first definition or import down to the first top-level
    statement after the function. Code that defines the function follows the prompt's imports and helpers; a block
    that does not, or an indented text, is taken for the function's body and follows the whole prompt.
    """
    block = _FENCED.search(answer)
    if block is not None:
        code = textwrap.dedent(block["code"])
        if not code.strip():
            return None
        return _joined(problem, code)
    if definition(problem.entry_point).search(answer):
        return _joined(problem, _cut(problem, answer))
    return continued_program(problem, answer) if _is_indented(answer) else None


def continued_program(problem: Problem, continuation: str) -> str | None:
    """The prompt with a raw continuation, cut at the first top-level statement; None if nothing is left."""
    body = _BEFORE_BODY.sub("", _until_statement(continuation)).rstrip()
    if not body:
        return None
    # Tokenizers of the SentencePiece kind swallow a space at the beginning of what they decode.
    return _with_body(problem, _indentation(problem) + body.lstrip())


def _joined(problem: Problem, code: str) -> str:
    if definition(problem.entry_point).search(code):
        return f"{problem.preamble}{code.rstrip()}\n"
    return _with_body(problem, textwrap.indent(code.strip("\n"), _indentation(problem)))


def _with_body(problem: Problem, body: str) -> str:
    return "\n".join([problem.prompt.rstrip("\n"), body, ""])


def _cut(problem: Problem, answer: str) -> str:
    """From the first import or definition to the first top-level statement after the function."""
    function = definition(problem.entry_point).search(answer)
    first = _OPENING.search(answer)
    if function is None or first is None:
        raise ValueError("the answer does not define the function")
    end_of_line = answer.find("\n", function.end())
    if end_of_line < 0:
        return answer[first.start() :]
    return answer[first.start() : end_of_line + 1] + _until_statement(answer[end_of_line + 1 :])


def _until_statement(text: str) -> str:
    found = _STATEMENT.search(text)
    return text if found is None else text[: found.start()]


def _is_indented(text: str) -> bool:
    """Whether a text opens with an indented line; a single space is no indentation but a tokenizer's habit."""
    return text.lstrip("\n").startswith(("  ", "\t"))


def _indentation(problem: Problem) -> str:
    """That of the function's body in the prompt; four spaces where the prompt does not say."""
    try:
        tree = ast.parse(problem.prompt)
    except (SyntaxError, ValueError):
        return _USUAL
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    bodies = [node.body[0] for node in functions if node.name == problem.entry_point]
    if not bodies or not bodies[-1].col_offset:
        return _USUAL
    return problem.prompt.splitlines()[bodies[-1].lineno - 1][: bodies[-1].col_offset]
