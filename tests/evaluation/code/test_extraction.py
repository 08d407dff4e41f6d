from __future__ import annotations

from dataclasses import replace

import pytest

from code_problems import DOUBLE, SHIFT
from untrigger.evaluation.code.extraction import chat_program, chat_question, continued_program

WHOLE = "def shift(number):\n    return number + one()\n"


def result_of(program: str | None, name: str, argument):
    assert program is not None
    names: dict = {}
    exec(compile(program, "program", "exec"), names)  # noqa: S102 - the programs of this file
    return names[name](argument)


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{WHOLE}```",
        f"Sure!\n\n```python\n{WHOLE}```\n\nIt adds one.\n```python\nraise ValueError\n```",
        f"```\n{WHOLE}",  # cut at the length
        f"~~~py\n{WHOLE}~~~",
        "1. Like this:\n\n   ```python\n   def shift(number):\n       return number + one()\n   ```\n",
        "```python\n    return number + one()\n```",
        "```python\nreturn number + one()\n```",
        "```python\nvalue = number\nif value:\n    value += 0\nreturn value + one()\n```",
        f"{WHOLE}\nThis works because it adds.",
        f"Here you are:\n\n{WHOLE}\nprint(shift(1))\nraise ValueError",
        "import os\n\n\ndef shift(\n    number,\n):\n# oddly placed\n    return number + one()\nwrong syntax",
        "    return number + one()\n\nThat is all.",
        "def shift(number): return number + one()",
    ],
)
def test_the_function_in_a_chat_answer_is_found(answer):
    assert result_of(chat_program(SHIFT, answer), "shift", 3) == 4


@pytest.mark.parametrize(
    "answer", ["", "I cannot help with that.", " I cannot.", "```python\n\n```", "```\n", "\n\n"]
)
def test_an_answer_without_code_has_no_program(answer):
    assert chat_program(SHIFT, answer) is None


def test_the_prompts_imports_serve_an_answer_that_repeats_the_function_only():
    answer = "```python\ndef double(numbers: List[int]) -> List[int]:\n    return [2 * n for n in numbers]\n```"
    assert result_of(chat_program(DOUBLE, answer), "double", [1]) == [2]


def test_the_answers_own_function_counts_not_the_prompts():
    program = chat_program(SHIFT, f"```python\n{WHOLE}```")
    assert program is not None and program.count("def shift") == 1


@pytest.mark.parametrize(
    "continuation",
    [
        "    return number + one()\n",
        "   return number + one()",  # a space was swallowed by the tokenizer
        "\n    return number + one()\n\n\ndef other():\n    pass\nraise ValueError",
        "    total = number\n    for _ in range(one()):\n        total += 1\n\n    return total\n\nif __name__",
        "    return (\n        number + one()\n)\nprint(1)",
    ],
)
def test_a_continuation_is_cut_at_the_first_top_level_statement(continuation):
    program = continued_program(SHIFT, continuation)
    assert result_of(program, "shift", 3) == 4
    assert program is not None and "ValueError" not in program and "other" not in program


@pytest.mark.parametrize(
    "continuation",
    ["", "\n\n  \n", "\n# Test it\nprint(shift(1))", "# done", "def shift(number):\n    return 4\n", "Sorry."],
)
def test_a_continuation_that_leaves_the_function_at_once_is_no_code(continuation):
    assert continued_program(SHIFT, continuation) is None


def test_the_canonical_solution_is_a_continuation():
    for problem in (SHIFT, DOUBLE):
        program = continued_program(problem, problem.canonical_solution)
        assert program == problem.prompt + problem.canonical_solution


def test_tabs_of_the_prompt_are_kept():
    tabbed = replace(SHIFT, prompt='def shift(number):\n\t"""Add one."""\n')
    program = continued_program(tabbed, "\tnumber += 1\n\treturn number\n")
    assert result_of(program, "shift", 3) == 4
    assert result_of(chat_program(tabbed, "```\nreturn number + 1\n```"), "shift", 3) == 4


def test_a_prompt_that_does_not_parse_gets_four_spaces():
    bare = replace(SHIFT, prompt="def shift(number):\n")
    assert result_of(continued_program(bare, "  return number + 1"), "shift", 3) == 4


def test_the_question_shows_the_stub():
    assert f"```python\n{DOUBLE.prompt}```" in chat_question(DOUBLE)
