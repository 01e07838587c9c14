"""`baseline` and `evaluate` on small made data: what they report, and that it follows from what they wrote."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from colours import SIZES, make_workspace, read_predictions, settings, write_teacher
from scipy.special import log_softmax
from sklearn.metrics import f1_score

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import DataError
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs
from tfpipe.data.rows import Row, write_rows
from tfpipe.stages import baseline, distill, evaluate, phases, teach
from tfpipe.stages.evaluate import predictions
from tfpipe.stages.needs import reference
from tfpipe.training import probe


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def scored(workspace: Workspace) -> dict[str, Any]:
    """What `baseline` reports; its predictions are kept in `first.npz`."""
    config = settings(workspace, "dataset")
    metrics = baseline.run(config, workspace)
    folder = workspace.step_dir(config, "baseline")
    assert [path.name for path in folder.iterdir()] == ["predictions.npz"]
    shutil.copyfile(folder / "predictions.npz", workspace.root / "first.npz")
    return metrics


@pytest.fixture(autouse=True, scope="module")
def _few_steps() -> Iterator[None]:
    """Of the probe: these colours need no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "LEAST_STEPS", 200)
        yield


def test_the_baseline_agrees_with_its_predictions(workspace: Workspace, scored: dict[str, Any]) -> None:
    ids, logits, labels = read_predictions(workspace, settings(workspace, "dataset"), "baseline")
    classes = sorted(SIZES)
    assert [classes[label] for label in labels] == [name.split("-")[0] for name in ids]
    assert len(set(ids)) == len(ids) == scored["num_examples"] == 30
    right = logits.argmax(axis=-1) == labels
    assert scored["top1_accuracy"] == pytest.approx(right.mean())
    assert scored["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(axis=-1), average="macro"))
    odd = np.array([int(name.split("-")[2]) % 2 == 1 for name in ids])
    assert scored["per_region"] == pytest.approx({"EU": right[odd].mean(), "US": right[~odd].mean()})
    buckets = {name: (part["num_classes"], part["num_examples"]) for name, part in scored["per_bucket"].items()}
    assert buckets == {"many": (1, 20), "medium": (1, 6), "few": (1, 4)}
    assert scored["per_bucket"]["few"]["top1_accuracy"] == pytest.approx(right[labels == 0].mean())


def test_colours_are_told_apart_even_by_random_features(scored: dict[str, Any]) -> None:
    """Where always saying the most frequent class gives 2 in 3."""
    assert scored["top1_accuracy"] > 0.9
    assert scored["nearest_mean_top1_accuracy"] > 0.8
    assert scored["features"] == "MobileNetV2 0.35 at 32 px, weights: none"


def test_the_penalty_is_the_one_with_the_lowest_loss_on_validation(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that allows no weights at all cannot win; and each alone must give what it gives among others."""
    monkeypatch.setattr(probe, "PENALTIES", (1e4, 0.05))
    metrics = baseline.run(settings(workspace, "dataset"), workspace)
    assert metrics["l2_penalty"] == pytest.approx(0.05 / 3)
    monkeypatch.setattr(probe, "PENALTIES", (1e4,))
    blind = baseline.run(settings(workspace, "dataset"), workspace)
    assert blind["top1_accuracy"] == pytest.approx(20 / 30)


def test_an_interrupted_run_goes_on_to_the_same_bytes_without_making_its_features_again(
    workspace: Workspace, scored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    config = settings(workspace, "dataset")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(probe, "fit_linear_layers", interrupted)
        baseline.run(config, workspace)
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "evaluation_batches", interrupted)
        assert baseline.run(config, workspace) == scored
    found = workspace.step_dir(config, "baseline") / "predictions.npz"
    assert found.read_bytes() == (workspace.root / "first.npz").read_bytes()


def test_what_was_torn_is_made_again(workspace: Workspace, scored: dict[str, Any]) -> None:
    config = settings(workspace, "dataset")
    features = workspace.step_dir(config, "baseline") / "features.f32"
    features.write_bytes(b"no feature at all" * 1000)
    assert features.stat().st_size // (4 * 1280) == 3
    assert baseline.run(config, workspace) == scored


# Gains


def test_evaluation_shows_its_gain_over_the_baseline_where_that_has_pretrained_features(
    workspace: Workspace, scored: dict[str, Any]
) -> None:
    config = settings(workspace, "teacher", "baseline.weights=some.h5")
    assert reference(config) == [(config.dataset_config, "baseline")]
    write_teacher(workspace, config)
    folder = workspace.step_dir(config.dataset_config, "baseline")
    (folder / "metrics.json").write_text(json.dumps({"top1_accuracy": 0.25}))
    metrics = evaluate.run(config, workspace)
    (folder / "metrics.json").unlink()
    assert metrics["baseline_top1_accuracy"] == 0.25
    assert metrics["gain_over_baseline"] == pytest.approx(metrics["top1_accuracy"] - 0.25)
    _, logits, labels = read_predictions(workspace, config, "evaluate")
    right = logits.argmax(axis=-1) == labels
    assert metrics["top1_accuracy"] == pytest.approx(right.mean())
    assert metrics["macro_accuracy"] == pytest.approx(np.mean([right[labels == label].mean() for label in range(3)]))
    assert metrics["per_bucket"]["many"]["top1_accuracy"] == pytest.approx(right[labels == 2].mean())


def test_random_features_are_nothing_to_compare_with(workspace: Workspace) -> None:
    config = settings(workspace, "teacher")
    assert reference(config) == []
    write_teacher(workspace, config)
    assert "gain_over_baseline" not in evaluate.run(config, workspace)


def test_another_split_than_the_baselines_shows_no_gain(workspace: Workspace) -> None:
    config = settings(workspace, "teacher", "baseline.weights=some.h5", "evaluate.split=validation")
    write_teacher(workspace, config)
    metrics = evaluate.run(config, workspace)
    assert metrics["num_examples"] == 16
    assert "gain_over_baseline" not in metrics


# The long tail, in training

TRAINING = "training={learning_rate: 1e-12, batch_size: 64, epochs: 1, warmup_epochs: 0}"


def test_a_teacher_is_trained_on_the_loss_that_its_settings_ask_for(workspace: Workspace) -> None:
    """With a learning rate of next to nothing, the epoch's loss is that of the network that it began with."""
    config = settings(workspace, "teacher")
    losses = {}
    for changed in ("class_weights=balanced", "logit_adjustment=1.0"):
        teach.run(settings(workspace, "teacher", TRAINING, f"training.{changed}"), workspace)
        with (workspace.step_dir(config, "teach") / "history.csv").open() as file:
            losses[changed] = float(next(csv.DictReader(file))["loss"])
    evaluate.run(settings(workspace, "teacher", "evaluate.split=train"), workspace)
    _, logits, labels = read_predictions(workspace, config, "evaluate")
    counts = np.array([3, 12, 40])
    weighted = 55 / (3 * counts[labels]) * -log_softmax(logits, axis=-1)[np.arange(55), labels]
    adjusted = -log_softmax(logits + np.log(counts / 55), axis=-1)[np.arange(55), labels]
    expected = {"class_weights=balanced": weighted.mean(), "logit_adjustment=1.0": adjusted.mean()}
    assert losses == pytest.approx(expected, rel=1e-4)


class SeenError(Exception):
    """Enough has been seen."""


def test_sampling_reaches_the_training_of_a_teacher(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(records: object, model_input: object, epochs: Epochs, **options: object) -> None:
        np.testing.assert_allclose(epochs.sampling_weights * [3, 12, 40], np.full(3, 55 / 3))
        raise SeenError

    monkeypatch.setattr(phases, "training_batches", look)
    with pytest.raises(SeenError):
        teach.run(settings(workspace, "teacher", "training.sampling=class_balanced"), workspace)


def test_sampling_reaches_distillation(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(config: object, records: object, model_input: object, epochs: Epochs, labels: object) -> None:
        # Those that look at the labels beforehand see them unweighted.
        if epochs.sampling_weights is not None:
            np.testing.assert_allclose(epochs.sampling_weights * [3, 12, 40], np.full(3, 55 / 3))
            raise SeenError

    monkeypatch.setattr(distill, "open_soft_labels", lambda config, workspace, records, *, asked: (None, None))
    monkeypatch.setattr(distill, "tell_of_softness", lambda batches, distiller: None)
    monkeypatch.setattr(distill, "taught_batches", look)
    overrides = ("teachers=[{path: t.keras}]", "training.sampling=class_balanced")
    with pytest.raises(SeenError):
        distill.run(settings(workspace, "teacher", *overrides), workspace)


# Texts

MOODS = {"task": "text", "dataset": "moods"}
WORDS = {"joy": ["glad", "sunny", "laughing"], "sadness": ["weeping", "lonely", "grey"]}


def make_texts(split: str, count: int) -> list[Row]:
    rng = np.random.default_rng(len(split))
    labels = [("joy", "joy", "sadness")[number % 3] for number in range(count)]
    texts = [f"day {number} {rng.choice(WORDS[label])} {rng.choice(['today', 'again'])}" for number, label in
             enumerate(labels)]  # fmt: skip
    return [
        Row(f"{split}{number}", label, text=text, split=split)
        for number, (label, text) in enumerate(zip(labels, texts, strict=True))
    ]


@pytest.fixture
def moods(tmp_path: Path) -> tuple[Workspace, Config]:
    (tmp_path / "moods.yaml").write_text(yaml.safe_dump(MOODS))
    return Workspace(tmp_path), load_config(tmp_path / "moods.yaml")


def test_texts_are_scored_by_their_words(moods: tuple[Workspace, Config]) -> None:
    workspace, config = moods
    rows = [*make_texts("train", 90), *make_texts("validation", 30), *make_texts("test", 30)]
    write_rows(rows, workspace.splits_path(config))
    metrics = baseline.run(config, workspace)
    ids, logits, labels = read_predictions(workspace, config, "baseline")
    assert ids.tolist() == [f"test{number}" for number in range(30)]
    assert metrics["num_examples"] == 30
    assert metrics["top1_accuracy"] == (logits.argmax(axis=-1) == labels).mean() > 0.9
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(axis=-1), average="macro"))
    assert set(metrics["per_class"]) == {"joy", "sadness"}
    np.testing.assert_allclose(np.exp(logits).sum(axis=-1), np.ones(30), rtol=1e-5)
    assert metrics["per_bucket"]["medium"]["num_classes"] == 2


def test_validation_is_learned_from_too_once_it_has_chosen(moods: tuple[Workspace, Config]) -> None:
    """A word that train never says, and validation says of one class alone."""
    workspace, config = moods
    new = [Row(f"new{n}", "sadness", text=f"so dejected that day {n}", split="validation") for n in range(12)]
    asked = Row("asked", "sadness", text="dejected", split="test")
    write_rows([*make_texts("train", 90), *make_texts("validation", 30), *new, asked], workspace.splits_path(config))
    assert baseline.run(config, workspace)["top1_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([Row("1", "joy", text="a", split="train")], "no rows in validation"),
        (
            [Row(split, "joy", text=split, split=split) for split in ("train", "validation", "test")],
            "all texts are 'joy'",
        ),
    ],
)
def test_texts_that_allow_no_score_are_told_in_a_sentence(
    moods: tuple[Workspace, Config], rows: list[Row], told: str
) -> None:
    workspace, config = moods
    write_rows(rows, workspace.splits_path(config))
    with pytest.raises(DataError, match=told):
        baseline.run(config, workspace)
