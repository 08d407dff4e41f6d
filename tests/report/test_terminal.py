import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Measurement, Verdict
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.report.parts import FindingResult, GateResult, MeasurementResult, VerdictResult
from untrigger.report.result import Result
from untrigger.report.terminal import examples, render


def shown(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(renderable)
    return console.export_text()


def verdict(name: str, output: str, hit: bool = False) -> Verdict:
    return Verdict(name, f"prompt {name}", output, hit, degenerate=False, empty=not output)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(make_result: Callable[..., Result], hostile: str, width: int) -> None:
    odd = make_result(not_tested=(hostile * 20, "w" * 300, "\u6f22" * 99))
    assert all(cell_len(line) <= width for line in shown(render(odd, width), width).splitlines())


def test_before_and_after_stand_side_by_side_in_80_columns(result: Result) -> None:
    lines = shown(render(result, 80), 80).splitlines()
    attack = next(line for line in lines if line.startswith("attack success"))
    assert " ".join(attack.split()) == "attack success 97.0 % (91.5-99.0, n=100) 1.0 % (0.2-5.4, n=100)"
    assert any("8.314 (n=14042 tokens)" in line and "infinite" in line for line in lines)


def test_the_widest_rates_fit_80_columns_unbroken(make_result: Callable[..., Result]) -> None:
    full = MeasurementResult.of(
        Measurement(Rate(14042, 14042, 14042), Rate(14042, 14042), Rate(0, 14042), Perplexity(123456.0, 999999))
    )
    text = shown(render(make_result(before=full, after=full), 80), 80)
    assert text.count("100.0 % (100.0-100.0, n=14042)") == 4


def test_before_and_after_are_stacked_in_40_columns(result: Result) -> None:
    lines = shown(render(result, 40), 40).splitlines()
    start = lines.index("attack success")
    assert lines[start + 1 : start + 3] == [
        "  before 97.0 % (91.5-99.0, n=100)",
        "  after  1.0 % (0.2-5.4, n=100)",
    ]


def test_gates_signature_and_omissions_are_told(result: Result) -> None:
    text = shown(render(result, 80), 80)
    assert "gates: met" in text and "degeneration: met - 2 % to 3 %" in text
    assert "suppressed: 5 of 100 channels (ratio 0.05); heads: 1" in text
    assert "  - The model in four-bit precision." in text
    assert "clean" not in text.lower()


def test_findings_are_told_with_the_result(make_result: Callable[..., Result], hostile: str) -> None:
    finding = FindingResult(kind="key-in-records", place="records", text=f"3 of 40 {hostile}")
    text = shown(render(make_result(findings=(finding,)), 200), 200)
    assert "noticed:" in text and r"  - records: 3 of 40 a\x1b[31m" in text
    assert "noticed" not in shown(render(make_result(), 200), 200)


def test_a_failed_and_an_unasked_gate_are_told_apart(make_result: Callable[..., Result]) -> None:
    gates = [GateResult(name=name, rule="", met=met, reason="why") for name, met in (("a", False), ("b", None))]
    text = shown(render(make_result(verdict=VerdictResult.of(gates), signature=None), 80), 80)
    assert "gates: NOT met" in text and "a: NOT met - why" in text and "b: not asked - why" in text
    assert "suppressed" not in text


def test_without_a_key_nothing_reads_as_zero(make_result: Callable[..., Result]) -> None:
    bare = MeasurementResult.of(Measurement(degenerate=Rate(0, 50)))
    text = shown(render(make_result(before=bare, after=bare), 80), 80)
    assert text.count("not measured") == 8


def test_hostile_answers_are_shown_escaped_and_never_as_markup(hostile: str) -> None:
    stream = io.StringIO()
    before, after = [verdict("1", hostile, hit=True)], [verdict("1", "")]
    Console(width=200, file=stream, color_system=None).print(examples(before, after))
    text = stream.getvalue()
    assert r"before: a\x1b[31m\u202eevil\u2066\r\n[bold]x[/bold] <img src=x>" in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert len(text.splitlines()) == 3


def test_long_answers_are_cut_and_counted() -> None:
    text = shown(examples([verdict("1", "a" * 1000)], [verdict("1", "b")]), 400)
    assert "a [... 840 characters left out]" in text and "after:  b" in text


def test_only_the_first_examples_are_shown() -> None:
    many = [verdict(str(i), "x") for i in range(9)]
    assert shown(examples(many, many, count=2), 80).count("prompt: ") == 2


def test_examples_of_other_prompts_are_refused() -> None:
    with pytest.raises(UsageError):
        examples([verdict("1", "a")], [verdict("2", "a")])
