"""The chain on texts: from a CSV file to a teacher that is evaluated, calibrated, asked, and taught from."""

import csv
import http.client
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from diary import EMOTIONS, OWN, make_workspace, settings
from served import SECONDS, begin_request, get, post, served, wait_for
from sklearn.metrics import classification_report, f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizers import Tokenizer

from tfpipe.cli import main
from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.data.rows import iter_rows
from tfpipe.models.tokenizer import read_text_input
from tfpipe.stages.runner import run_step
from tfpipe.training import fitting


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("diary"))


@pytest.fixture(scope="module")
def there(workspace: Workspace) -> Any:
    """The workspace as the current folder: paths in settings are relative to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        yield


@pytest.fixture(scope="module")
def teacher(workspace: Workspace, there: None) -> Config:
    run_step("evaluate", Path("teacher.yaml"))
    run_step("calibrate", Path("teacher.yaml"))
    return settings(workspace, "teacher")


def test_each_text_is_known_once_and_classes_stand_as_they_were_given(workspace: Workspace, teacher: Config) -> None:
    rows = list(iter_rows(workspace.splits_path(teacher)))
    texts = [row.text for row in rows]
    assert len(texts) == len(set(texts))
    faults = [json.loads(line)["fault"] for line in workspace.excluded_path(teacher).read_text().splitlines()]
    assert faults.count("repeated") >= 30
    records = Records(workspace.records_dir(teacher), "train")
    assert records.classes == list(EMOTIONS)
    assert records.task == "text"


def test_the_audit_tells_lengths_as_the_model_counts(workspace: Workspace, teacher: Config) -> None:
    folder = workspace.step_dir(settings(workspace, "dataset"), "audit")
    report = json.loads((folder / "report.json").read_text())
    tokenizer = Tokenizer.from_str(read_text_input(Path("words"), 24).tokenizer)
    texts = [row.text for row in iter_rows(workspace.raw_path(teacher)) if row.text.strip()]
    longest = max(len(tokenizer.encode(text).ids) for text in texts)
    assert report["quantiles"]["sub-words"]["largest"] == longest


def test_the_splits_are_written_as_the_plans_csv_files_too(workspace: Workspace, teacher: Config) -> None:
    folder = workspace.dataset_dir(teacher)
    by_split = {"train": "train", "val": "validation", "test": "test"}
    rows = list(iter_rows(workspace.splits_path(teacher)))
    for name, split in by_split.items():
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            found = [(line["words"], line["mood"], int(line["label"])) for line in csv.DictReader(file)]
        expected = [(row.text, row.label, EMOTIONS.index(row.label)) for row in rows if row.split == split]
        assert found == expected


def test_what_evaluate_reports_follows_from_its_predictions(workspace: Workspace, teacher: Config) -> None:
    folder = workspace.step_dir(teacher, "evaluate")
    metrics = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "predictions.npz") as saved:
        ids, answers, labels = saved["ids"], saved["logits"].argmax(-1), saved["labels"]
    assert metrics["top1_accuracy"] == pytest.approx((answers == labels).mean())
    assert metrics["top1_accuracy"] > 0.8
    for average in ("macro", "weighted"):
        assert metrics[f"{average}_f1"] == pytest.approx(f1_score(labels, answers, average=average))
    report = classification_report(labels, answers, target_names=EMOTIONS, output_dict=True, zero_division=0)
    with (folder / "per_class.csv").open(encoding="utf-8") as file:
        lines = {line["label"]: line for line in csv.DictReader(file)}
    told = (folder / "classification_report.txt").read_text()
    assert told == classification_report(labels, answers, target_names=EMOTIONS, digits=4, zero_division=0)
    for emotion in EMOTIONS:
        assert float(lines[emotion]["f1"]) == pytest.approx(report[emotion]["f1-score"], abs=1e-6)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (labels, answers), 1)
    assert json.loads((folder / "confusion.json").read_text()) == {
        "labels": list(EMOTIONS),
        "answers": list(EMOTIONS),
        "matrix": matrix.tolist(),
    }
    rows = {row.id: row for row in iter_rows(workspace.splits_path(teacher))}
    right = {"up to 5 words": [], "up to 10 words": [], "up to 20 words": []}  # type: ignore[var-annotated]
    for row_id, answer, label in zip(ids, answers, labels, strict=True):
        count = len(rows[str(row_id)].text.split())
        right[next(name for name in right if count <= int(name.split()[2]))].append(answer == label)
    found = {name: numbers["top1_accuracy"] for name, numbers in metrics["per_length"].items()}
    assert found == pytest.approx({name: np.mean(values) for name, values in right.items() if values})
    assert sum(numbers["num_examples"] for numbers in metrics["per_author"].values()) == len(labels)
    wrong = int((answers != labels).sum())
    assert len(metrics["surest_mistakes"]) == wrong
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "texts are named right" in page
    assert "photos" not in page.partition("</style>")[2]


def test_the_names_of_training_arguments_mean_what_they_mean_there(workspace: Workspace, teacher: Config) -> None:
    assert teacher.training.epochs == 4
    assert teacher.callbacks.best_metric == "f1"
    folder = workspace.step_dir(teacher, "teach")
    metrics = json.loads((folder / "metrics.json").read_text())
    with (folder / "history.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    best = max(history, key=lambda epoch: (float(epoch["val_f1"]), -float(epoch["val_loss"])))
    assert metrics["best_epoch"] == int(best["epoch"])
    points = EventAccumulator(str(folder / "logs" / "teach" / "steps"), {"tensors": 0}).Reload()
    steps = [event.step for event in points.Tensors("loss")]
    assert steps == list(range(2, steps[-1] + 1, 2))


def test_an_interrupted_teacher_ends_in_the_same_bits(
    workspace: Workspace, teacher: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, whose texts are sorted into batches by length; dropout draws on."""
    steps = 0

    @contextmanager
    def watched(title: str, total: int | None) -> Iterator[Callable[..., None]]:
        def advance(count: int = 1, note: str = "") -> None:
            nonlocal steps
            steps += count
            if steps == 17:
                signal.raise_signal(signal.SIGINT)

        yield advance

    monkeypatch.setattr(fitting, "progress", watched)
    with pytest.raises(KeyboardInterrupt):
        run_step("teach", Path("again.yaml"))
    monkeypatch.undo()
    monkeypatch.chdir(workspace.root)
    found = run_step("teach", Path("again.yaml"))
    expected = json.loads((workspace.step_dir(teacher, "teach") / "metrics.json").read_text())
    assert found["weights_sha256"] == expected["weights_sha256"]


def test_predict_answers_a_text_standard_input_and_a_file(teacher: Config, tmp_path: Path) -> None:
    def ask(*arguments: str, given: str | bytes | None = None) -> Any:
        return CliRunner().invoke(main, ["predict", "--config", "teacher.yaml", *arguments], input=given)

    glad, lonely = f"today i feel {OWN['joy']}", f"because {OWN['sadness']} so"
    one = json.loads(ask("--json", glad).stdout)
    assert one["label"] == "joy"
    assert one["input"] == glad
    assert sum(one["probs"].values()) == pytest.approx(1)
    assert list(one["probs"].values()) == sorted(one["probs"].values(), reverse=True)
    several = [json.loads(line) for line in ask("--json", "-", given=f"{glad}\n{lonely}\n").stdout.splitlines()]
    assert [answer["label"] for answer in several] == ["joy", "sadness"]
    assert several[0]["confidence"] == pytest.approx(one["confidence"], abs=1e-5)
    (tmp_path / "diary.csv").write_text(f"nr,words\n1,{glad}\n2,{lonely}\n", encoding="utf-8")
    table = list(csv.DictReader(ask("--csv", str(tmp_path / "diary.csv"), "--column", "words").stdout.splitlines()))
    assert [(row["nr"], row["answer"]) for row in table] == [("1", "joy"), ("2", "sadness")]
    assert set(table[0]) == {"nr", "words", "answer", "confidence", "conclusive", *(f"prob_{e}" for e in EMOTIONS)}
    for arguments, given, told in (
        (["--json", " "], None, "empty"),
        (["-"], b"fine\n\xff\xfe\n", "standard input, line 2: no text in UTF-8"),
        (["-"], b"a\0b\n", "standard input, line 1: binary"),
        (["--csv", str(tmp_path / "diary.csv")], None, "no column 'text'; there are: nr, words"),
        (["--csv", str(tmp_path / "nowhere.csv")], None, "nowhere.csv"),
    ):
        result = ask(*arguments, given=given)
        assert result.exit_code == 1
        assert told in result.stderr
        assert "Traceback" not in result.output


def test_serve_answers_as_predict_does_and_ends_when_all_is_answered(workspace: Workspace, teacher: Config) -> None:
    texts = [f"today i feel {OWN['joy']}", f"because {OWN['sadness']} so"]
    body = json.dumps({"inputs": texts}).encode()
    limits = ("--set", "serve.token_env=SERVE_TOKEN", "--set", f"serve.timeout_s={SECONDS}")
    with served(workspace, "--config", "teacher.yaml", "--port", "0", *limits) as (process, port, told):
        assert told[0].endswith("calibrate teacher")
        assert get(port, "/health")[0] == 200
        wait_for(port, "/ready", lambda status, _: status == 200)
        status, answers = post(port, *texts)
        assert status == 200
        with begin_request(port, body) as connection:
            wait_for(port, "/metrics", lambda _, text: "tfpipe_requests_under_way 1.0" in text)
            process.send_signal(signal.SIGTERM)
            wait_for(port, "/ready", lambda status, _: status == 503)
            assert post(port, *texts) == (503, {"detail": "the server is stopping"})
            assert process.poll() is None
            connection.sendall(body[10:])
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            assert json.loads(response.read()) == answers
        assert process.wait(SECONDS) == 0
        assert process.stderr
        rest = process.stderr.read()
        assert "Traceback" not in rest
        assert rest.splitlines()[-1] == "teacher: stopped."
        assert texts[0] not in rest
    asked = ["predict", "--config", "teacher.yaml", "--json", *texts]
    expected = [json.loads(line) for line in CliRunner().invoke(main, asked).stdout.splitlines()]
    assert [answer["label"] for answer in answers] == ["joy", "sadness"]
    for found, wanted in zip(answers, expected, strict=True):
        assert (found["label"], found["conclusive"]) == (wanted["label"], wanted["conclusive"])
        assert found["probs"] == pytest.approx(wanted["probs"], abs=1e-5)


def test_two_workers_serve_one_port_until_they_are_told_to_end(workspace: Workspace, teacher: Config) -> None:
    options = ("--set", "serve.workers=2", "--set", "serve.token_env=SERVE_TOKEN")
    with served(workspace, "--config", "teacher.yaml", "--port", "0", *options) as (process, port, _):
        # Whoever of them answers tells of both.
        wait_for(port, "/metrics", lambda _, text: text.count('tfpipe_ready{worker="') == 2)
        assert [post(port, f"today i feel {OWN['joy']}")[1][0]["label"] for _ in range(8)] == ["joy"] * 8
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert process.stderr
        rest = process.stderr.read()
        assert rest.count("teacher: ready\n") == 2
        assert rest.splitlines()[-1] == "teacher: stopped."
        assert "Traceback" not in rest


def test_where_validation_is_too_small_for_a_threshold_nothing_is_held_back(teacher: Config) -> None:
    few = ["--set", "calibrate.min_answers=1000"]
    result = CliRunner().invoke(main, ["predict", "--config", "again.yaml", *few, "--json", "so"])
    answer = json.loads(result.stdout)
    assert answer["conclusive"]
    assert answer["confidence"] < 1


def test_the_export_is_a_folder_that_transformers_reads(workspace: Workspace, teacher: Config) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `judge`")
    torch = pytest.importorskip("torch", reason="needs the extra `judge`")
    run_step("export", Path("teacher.yaml"))
    folder = workspace.exported_dir(teacher)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with np.load(workspace.step_dir(teacher, "evaluate") / "predictions.npz") as saved:
        ids, logits = saved["ids"][:20], saved["logits"][:20]
    texts = {row.id: row.text for row in iter_rows(workspace.splits_path(teacher))}
    for row_id, expected in zip(ids, logits, strict=True):
        asked = torch.tensor([tokenizer(texts[str(row_id)])["input_ids"]])
        with torch.no_grad():
            found = network(asked).logits[0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (folder / "calibration.json").is_file()


def test_a_text_of_a_megabyte_is_read_as_far_as_the_model_reads(teacher: Config) -> None:
    long = f"{OWN['anger']} " * 45_000
    short = " ".join(long.split()[:22])
    asked = ["predict", "--config", "teacher.yaml", "--json", "-"]
    result = CliRunner().invoke(main, asked, input=f"{long}\n{short}\n")
    first, second = (json.loads(line)["probs"] for line in result.stdout.splitlines())
    assert first == pytest.approx(second)


@pytest.mark.parametrize("step", ["quantize", "verify"])
def test_a_teacher_is_too_large_for_a_page_and_that_is_said(there: None, teacher: Config, step: str) -> None:
    with pytest.raises(ConfigError, match=f"`{step}` is for what runs in a page, and a teacher of texts is too large"):
        run_step(step, Path("teacher.yaml"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.name=mobilenetv2", "mobilenetv2 is for images, and the records hold texts"),
        ("regularization.mixup_alpha=0.2", "regularization.mixup_alpha is for pixels"),
        ("model.tokenizer=nowhere", "nowhere has no tokenizer"),
        ("model.name=bert", "has the size of its weights"),
    ],
)
def test_what_texts_cannot_do_is_told_in_a_sentence(there: None, teacher: Config, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run_step("teach", Path("teacher.yaml"), (override,))
