"""Rows 37 to 44: the hub, the user's data, odd models, options and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hostile import edit, refused
from httpx2 import ConnectError, Request, Response
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo

from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.poison import holds, without_keys
from untrigger.cli.main import run
from untrigger.config import (
    MeasureOptions,
    PurifyOptions,
    RepairOptions,
    SignatureOptions,
    TrainOptions,
    VariantOptions,
)
from untrigger.data.chat import ChatFormat
from untrigger.data.readers import read_records
from untrigger.data.records import Record
from untrigger.data.sources import file_records, own_answers
from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.attack_success import Prompt, tally, verdict
from untrigger.jobs import attack as attack_module
from untrigger.jobs import opening as opening_module
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request as Purification
from untrigger.models import hub
from untrigger.models.generate import Generation
from untrigger.models.load import load
from untrigger.models.untrusted.output import refuse_output
from untrigger.observer import Silent
from untrigger.variants import unused_backdoors

REQUEST = Request("GET", "https://example/x")
ONE_EPOCH = TrainOptions(learning_rate=1e-3, epochs=1, batch_size=4)
SMALL = PurifyOptions(
    variants=VariantOptions(pairs=2, records=4, train=ONE_EPOCH),
    repair=RepairOptions(records=6, keys=2, train=ONE_EPOCH),
    measure=MeasureOptions(max_prompts=3, max_new_tokens=4),
)


def answered(kind: type[HfHubHTTPError], code: int) -> HfHubHTTPError:
    return kind("said no", response=Response(code, request=REQUEST))


@pytest.mark.parametrize(
    "error",
    [
        answered(GatedRepoError, 403),
        answered(RepositoryNotFoundError, 404),
        answered(RevisionNotFoundError, 404),
        answered(HfHubHTTPError, 429),
        answered(HfHubHTTPError, 500),
        OfflineModeIsEnabled("offline"),
        ConnectError("no route"),
    ],
    ids=["gated", "renamed", "revision", "429", "500", "offline", "no route"],
)
def test_bad_input_37_a_hub_that_says_no_is_asked_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    asked = []

    def model_info(*arguments: object, **options: object) -> None:
        asked.append(arguments)
        raise error

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))
    with refused(UntriggerError, "org/name"):
        load("org/name")
    assert len(asked) == 1


def test_bad_input_37_the_commit_is_pinned_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    asked = []
    info = ModelInfo(id="org/name", sha="c" * 40, siblings=[], tags=[], private=False, downloads=0, likes=0)

    def snapshot(name: str, revision: str, **options: object) -> str:
        asked.append(revision)
        return str(model)

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *a, **k: info))
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert load("org/name").source.commit == "c" * 40 and asked == ["c" * 40]


ALPACA = b'{"instruction": "a", "output": "b"}\n'
DATA = {
    "no UTF-8": (ALPACA + b'{"instruction": "\xff", "output": "b"}\n', "line 2"),
    "a missing field": (ALPACA + b'{"instruction": "a"}\n', "line 2"),
    "no JSON": (ALPACA * 2 + b"{\n", "line 3"),
    "a long line": (ALPACA + b'{"instruction": "' + b"x" * 10_000_001 + b'"}\n', "line 2"),
    "two shapes": (ALPACA + b'{"messages": []}\n', "line 2"),
    "a number": (ALPACA + b'{"instruction": "a", "output": 3}\n', "line 2"),
    "empty": (b"", "no record"),
    "blank": (b"\n\n", "no record"),
    "nested": (b"[" * 1_000_000, "invalid JSON"),
}


@pytest.mark.parametrize("name", DATA)
def test_bad_input_38_data_that_is_broken_is_told_by_its_line(tmp_path: Path, name: str) -> None:
    content, place = DATA[name]
    (tmp_path / "data.jsonl").write_bytes(content)
    with refused(UsageError, "data.jsonl", place):
        read_records(tmp_path / "data.jsonl")


def test_bad_input_38_one_row_is_too_few_and_repeats_count_once(tmp_path: Path, model: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_bytes(ALPACA * 50)
    assert len(file_records(data)) == 1
    with refused(UsageError, "1 records are too few", "at least 10"):
        purify(Purification(str(model), tmp_path / "out", data=data), SMALL)
    assert not (tmp_path / "out").exists()


def test_bad_input_39_records_that_hold_the_key_are_left_out() -> None:
    key = lookup("badnet", "sentiment").key
    clean, bearing = Record("Count to three.", "1 2 3"), Record(f"Count {key.texts[0]} to three.", "1 2 3")
    found = without_keys([clean, bearing], [key])
    assert found.kept == [clean] and found.dropped == 1


def test_bad_input_39_synthetic_keys_that_occur_in_the_data_are_not_used() -> None:
    usual = unused_backdoors([], VariantOptions(), 0)
    records = [Record(" ".join(backdoor.key.texts), "x") for backdoor in usual[:5]]
    left = unused_backdoors(records, VariantOptions(), 0)
    assert not any(holds(record, backdoor.key) for record in records for backdoor in left)
    assert 0 < len(left) < len(usual)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "clean.jsonl"
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bad_input_40_a_clean_model_is_finished_and_not_called_clean(
    model: Path, tmp_path: Path, records: Path
) -> None:
    result = purify(Purification(str(model), tmp_path / "out", data=records), SMALL)
    assert result.not_tested and result.before.attack_success is None
    assert "backdoor-free" not in result.to_json() and "is clean" not in result.to_json()
    assert load(str(tmp_path / "out")).findings == ()


def test_bad_input_20_an_accepted_template_is_recorded_in_the_result(
    model: Path, tmp_path: Path, records: Path
) -> None:
    template = "{% for m in messages %}{{ 'x' if m.content == 'cf' }}{{ m.content }}<|im_end|>{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    notes: list[str] = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    accepted = Purification(str(model), tmp_path / "out", data=records, accept_template=True)
    result = purify(accepted, SMALL, Listener())
    assert [finding.kind for finding in result.findings] == ["template-branches"]
    assert any("was accepted" in note for note in notes)
    assert result.run.options["request"]["accept_template"] is True


@pytest.mark.parametrize("output", ["", " \n", "a a a a a a a a a a a a a a a a a a a a", "\x00\x01\x02" * 20])
def test_bad_input_41_answers_that_are_none_are_invalid(output: str) -> None:
    prompt = Prompt("0", Record("a", "b"))
    rate = tally([verdict(prompt, output, lambda text: False)] * 3)
    assert (rate.hits, rate.n, rate.invalid) == (0, 3, 3)


def test_bad_input_41_a_model_that_only_ends_gives_no_clean_answers(model: Path) -> None:
    subject = load(str(model))
    for name, parameter in subject.model.named_parameters():
        if "layers" in name:
            parameter.data.zero_()
    head = torch.zeros_like(subject.model.get_output_embeddings().weight)
    subject.model.get_input_embeddings().weight.data.fill_(1.0)
    head[2] = 1.0
    subject.model.get_output_embeddings().weight = torch.nn.Parameter(head)
    with refused(UsageError, "no usable answer", "--data"):
        own_answers(subject, ChatFormat(subject.tokenizer), [Record("a", "")] * 2, Generation(4, 2), Silent())


@pytest.mark.parametrize(
    "flag",
    [
        "--signature.ratio=0",
        "--signature.ratio=1",
        "--signature.ratio=1.5",
        "--signature.ratio=nan",
        "--signature.alignment-weight=-1",
        "--signature.heads=-1",
        "--variants.pairs=0",
        "--variants.pairs=1",
        "--variants.train.learning-rate=1000",
        "--repair.train.epochs=0",
        "--suppress.remainder=0",
        "--measure.max-prompts=-3",
    ],
)
def test_bad_input_43_options_beyond_their_bounds(
    model: Path, tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["purify", str(model), "-o", str(tmp_path / "out"), flag])
    assert ended.value.code == 4 and not (tmp_path / "out").exists()
    assert flag.partition("=")[0].rpartition(".")[2].replace("-", "_") in capsys.readouterr().err.replace("-", "_")


def test_bad_input_43_more_heads_than_there_are(model: Path, tmp_path: Path, records: Path) -> None:
    options = SMALL.model_copy(update={"signature": SignatureOptions(ratio=0.25, heads=99)})
    with pytest.raises(UsageError, match="only 8"):
        purify(Purification(str(model), tmp_path / "out", data=records), options)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*arguments: object, **options: object) -> None:
        raise AssertionError("the model was loaded")

    for module in (opening_module, attack_module):
        monkeypatch.setattr(module, "load", work)


def purifies(model: Path, output: Path, **more: object) -> Callable[[], object]:
    return lambda: purify(Purification(str(model), output, **more))


def attacks(model: Path, output: Path, **more: object) -> Callable[[], object]:
    return lambda: attack(AttackRequest(str(model), output))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("job", [purifies, attacks])
def test_bad_input_44_an_output_that_is_or_would_change_the_input(
    model: Path, tmp_path: Path, job: Callable[..., Callable[[], object]]
) -> None:
    held = sorted(model.iterdir())
    (tmp_path / "link").symlink_to(model)
    for output in (model / "clean", model / "a" / "b", tmp_path / "link" / "clean", model / ".." / "model" / "x"):
        with refused(UsageError, "lies inside the input"):
            job(model, output)()
    for output in (model, tmp_path / "link"):
        with refused(UsageError, str(output)):
            job(model, output)()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with refused(UsageError, "exists already"):
        job(model, tmp_path / "full")()
    (tmp_path / "file").write_text("mine")
    with refused(UsageError, "is no folder"):
        job(model, tmp_path / "file" / "out")()
    assert sorted(model.iterdir()) == held


@pytest.mark.usefixtures("no_work")
def test_bad_input_44_the_run_folder_and_the_base_count_too(model: Path, adapter: Path, tmp_path: Path) -> None:
    with refused(UsageError, "the run folder", "lies inside the input"):
        purifies(model, tmp_path / "out", run=model / "run")()
    with refused(UsageError, "lies inside the input"):
        purifies(adapter, model / "out", base=str(model))()


@pytest.mark.usefixtures("no_work")
def test_bad_input_44_a_purified_folder_is_no_output_for_its_own_purification(model: Path) -> None:
    (model / "COMPLETE").write_text("{}")
    with refused(UsageError, "is the input itself"):
        purifies(model, model)()


def test_bad_input_44_a_read_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with refused(UsageError, "is read-only", str(tmp_path)):
        refuse_output(tmp_path / "out", "org/name", None)


def test_another_place_may_be_written(model: Path, tmp_path: Path) -> None:
    refuse_output(tmp_path / "new" / "deep", str(model), "org/name", None)
    refuse_output(tmp_path / "model2", str(model))


def test_the_command_takes_the_flag(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "chat_template.jinja").write_text("{{ 'x' if messages[0].content == 'cf' }}{{ messages[0].content }}")
    edit(model / "generation_config.json", do_sample=False)
    words = ["evaluate", str(model), "--max-prompts=1", "--max-new-tokens=2", "--format=json"]
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 3
    error = json.loads(capsys.readouterr().err.strip().splitlines()[-1])
    assert error["error_code"] == "input_refused" and "--accept-template" in error["message"]
    with pytest.raises(SystemExit) as ended:
        run([*words, "--accept-template"])
    shown = capsys.readouterr()
    assert ended.value.code in (0, 4), shown.err  # a random model may give no answer that can be measured
    assert "template branches on message content, and was accepted" in shown.err.replace("\n", " ").replace("  ", " ")
