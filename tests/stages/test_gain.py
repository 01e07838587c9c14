"""The student's baseline, trained beside it, and what is said of the difference."""

import csv
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from colours import SIDE, SIZES, TEACHER, make_workspace, settings, write_teacher
from scipy.special import log_softmax, softmax

from tfpipe.core.config import Config
from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import ConfigError, CriterionError
from tfpipe.core.settings import ModelSettings
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.labels.speaking import share_say
from tfpipe.models.saving import load_model
from tfpipe.stages import STEPS, distill, label, phases
from tfpipe.training import fitting
from tfpipe.training.agreement import Agreement, measure_agreement
from tfpipe.training.reliability import reliability

STUDENT: dict[str, Any] = TEACHER | {
    "model": {"name": "mobilenetv2", "dropout_rate": 0.2},
    "teachers": [{"config": "teacher.yaml"}, {"config": "other.yaml", "region_filter": "EU", "weight": 3.0}],
    "label": {"views": 2},
    "distillation": {"temperature": 2.0},
    "training": {"epochs": 3, "batch_size": 11, "ema_decay": 0.8, "learning_rate": 3e-3},
    "finetune": {"epochs": 1},
    "callbacks": {"keep_checkpoints": 2},
}
WITH_BASELINE = "distillation.baseline=true"
SHARPER = 4.0
"""The other teacher's weights are so much larger."""


def build_small(settings: ModelSettings, *, num_classes: int, seed: int, dropout: float, **options: Any) -> keras.Model:
    """In the place of a student of the table, which takes long to trace: with state beside its weights, too."""
    images = keras.Input((SIDE, SIDE, 3))
    hidden = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(images))
    hidden = keras.layers.BatchNormalization(momentum=0.8)(keras.layers.Dense(8, activation="relu")(hidden))
    hidden = keras.layers.Dropout(dropout, seed=seed)(hidden)
    return keras.Model(images, keras.layers.Dense(num_classes, name="logits")(hidden))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "build_model", build_small)
        yield


def write_settings(workspace: Workspace) -> None:
    (workspace.root / "student.yaml").write_text(yaml.safe_dump(STUDENT))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two teachers that know the colours, and their labels."""
    workspace = make_workspace(tmp_path_factory.mktemp("labelled"))
    write_settings(workspace)
    write_teacher(workspace, settings(workspace, "teacher"), pixels=4)
    sharper = [[SHARPER * weight for weight in row] for row in ((-1, -1, 1), (-1, 1, -1), (1, -1, -1))]
    write_teacher(workspace, settings(workspace, "other"), sharper, pixels=2)
    label.run(settings(workspace, "student"), workspace)
    return workspace


def copied(labelled: Workspace, folder: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(labelled.root, folder)))


def run(labelled: Workspace, folder: Path, *overrides: str) -> tuple[Workspace, Config, dict[str, Any]]:
    workspace = copied(labelled, folder)
    config = settings(workspace, "student", *overrides)
    return workspace, config, distill.run(config, workspace)


@pytest.fixture(scope="module")
def whole(labelled: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Config, dict[str, Any]]:
    return run(labelled, tmp_path_factory.mktemp("whole") / "workspace", WITH_BASELINE)


@pytest.fixture(scope="module")
def alone(labelled: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return run(labelled, tmp_path_factory.mktemp("alone") / "workspace")[0]


def step_files(workspace: Workspace) -> dict[str, bytes]:
    """What the step wrote but for TensorBoard's logs, which tell the time."""
    folder = workspace.root / "runs" / "student" / "distill"
    paths = [path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def logits_of(workspace: Workspace, config: Config, path: Path) -> tuple[np.ndarray, np.ndarray]:
    network, card = load_model(path)
    records = Records(workspace.records_dir(config), "test")
    parts = list(evaluation_batches(records, card.model_input, batch_size=64))
    logits = np.concatenate([network(images, training=False) for images, _ in parts])
    return logits.astype(np.float64), np.concatenate([targets for _, targets in parts]).argmax(axis=-1)


def test_nothing_of_the_student_changes_with_a_baseline_beside_it(
    whole: tuple[Workspace, Config, dict[str, Any]], alone: Workspace
) -> None:
    with_baseline, without = step_files(whole[0]), step_files(alone)
    assert set(with_baseline) - set(without) == {
        *("baseline.keras", "baseline/history.csv", "baseline/training_metrics.png"),
        *(f"baseline/checkpoints/{name}.keras" for name in ("distill-001", "distill-002", "finetune-001")),
    }
    assert set(without) <= set(with_baseline)
    assert [name for name in without if without[name] != with_baseline[name]] == []


def test_the_baseline_is_what_the_student_would_be_with_weights_0_and_1(
    whole: tuple[Workspace, Config, dict[str, Any]], labelled: Workspace, tmp_path: Path
) -> None:
    weights = "distillation.loss_weights={kl_divergence: 0, cross_entropy: 1}"
    workspace, _, _ = run(labelled, tmp_path / "workspace", weights)
    files, expected = step_files(whole[0]), step_files(workspace)
    assert files["baseline.keras"] == expected["best.keras"]
    assert files["baseline/history.csv"] == expected["history.csv"]
    assert files["baseline.keras"] != files["best.keras"]


def test_the_averaged_weights_are_kept_and_so_are_as_many_epochs_as_asked_for(alone: Workspace) -> None:
    """Epoch 1's network goes when epoch 2's is there only if one is asked for; two are."""
    assert {name for name in step_files(alone) if name.startswith("checkpoints/")} == {
        *("checkpoints/distill-001.keras", "checkpoints/distill-002.keras", "checkpoints/finetune-001.keras"),
    }
    config = settings(alone, "student")
    history = list(csv.DictReader((alone.step_dir(config, "distill") / "history.csv").read_text().splitlines()))
    for row, name in zip(history, ("distill-001", "distill-002", "finetune-001"), strict=True):
        network, card = load_model(alone.step_dir(config, "distill") / "checkpoints" / f"{name}.keras")
        records = Records(alone.records_dir(config), "validation")
        images, targets = next(iter(evaluation_batches(records, card.model_input, batch_size=64)))
        losses = -(targets.numpy() * log_softmax(network(images, training=False).numpy().astype(np.float64), -1)).sum(
            -1
        )
        assert float(row["val_loss"]) == pytest.approx(losses.mean(), rel=1e-4)


@contextmanager
def killed_in(phase: str, step: int) -> Iterator[None]:
    """As a kill does, after so many steps of the phase with that title: nothing more is written."""

    @contextmanager
    def watched(title: str, total: int | None) -> Iterator[Callable[..., None]]:
        steps = 0

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal steps
            steps += count
            if title == phase and steps == step:
                raise KeyboardInterrupt

        yield advance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "progress", watched)
        yield


def test_killed_before_and_within_the_baseline_it_goes_on_to_the_same_bits(
    whole: tuple[Workspace, Config, dict[str, Any]], labelled: Workspace, tmp_path: Path
) -> None:
    workspace = copied(labelled, tmp_path / "workspace")
    config = settings(workspace, "student", WITH_BASELINE)
    kills = (("distill student", 7), ("finetune student (baseline)", 2))
    for phase, step in kills:
        with killed_in(phase, step), pytest.raises(KeyboardInterrupt):
            distill.run(config, workspace)
    assert distill.run(config, workspace) == whole[2]
    assert step_files(workspace) == step_files(whole[0])


def test_the_gain_is_the_difference_on_the_test_split(whole: tuple[Workspace, Config, dict[str, Any]]) -> None:
    workspace, config, metrics = whole
    gain, folder = metrics["gain"], workspace.step_dir(config, "distill")
    logits, labels = logits_of(workspace, config, folder / "best.keras")
    others, _ = logits_of(workspace, config, folder / "baseline.keras")
    right, other_right = (side.argmax(-1) == labels for side in (logits, others))
    regions = Records(workspace.records_dir(config), "test").facts()[1]
    assert gain["num_examples"] == sum(sizes[2] for sizes in SIZES.values())
    assert gain["top1_accuracy"] == pytest.approx(right.mean())
    assert gain["baseline_top1_accuracy"] == pytest.approx(other_right.mean())
    assert gain["top1_difference"] == pytest.approx(right.mean() - other_right.mean())
    assert gain["top1_interval"]["low"] <= gain["top1_difference"] <= gain["top1_interval"]["high"]
    assert set(gain["per_region"]) == {"EU", "US"}
    for region, numbers in gain["per_region"].items():
        inside = regions == region
        assert numbers["top1_difference"] == pytest.approx(right[inside].mean() - other_right[inside].mean())
    # Three blue training photos are few, twelve green ones a medium number, forty red ones many.
    for number, bucket in enumerate(("few", "medium", "many")):
        found = gain["per_bucket"][bucket]
        assert found["num_examples"] == (labels == number).sum()
        assert found["top1_accuracy"] == pytest.approx(right[labels == number].mean())
    for name, side in (("student", logits), ("baseline", others)):
        probs = softmax(side, axis=-1)
        expected = reliability(probs.max(axis=-1), probs.argmax(axis=-1) == labels)["ece"]
        assert gain["ece"][name] == pytest.approx(expected, abs=1e-5)
    assert not (folder / "gain").exists()


def test_agreement_is_with_the_teachers_weighted_as_they_label(whole: tuple[Workspace, Config, dict[str, Any]]) -> None:
    """In the EU the second has three quarters of the say, elsewhere none."""
    workspace, config, metrics = whole
    sides = [logits_of(workspace, config, workspace.best_path(other))[0] for other in config.teacher_configs if other]
    share = np.where(Records(workspace.records_dir(config), "test").facts()[1] == "EU", 0.75, 0.0)[:, None]
    probs = (1 - share) * softmax(sides[0], -1) + share * softmax(sides[1], -1)
    paths = {"student": "best.keras", "baseline": "baseline.keras"}
    for name, file in paths.items():
        logits, _ = logits_of(workspace, config, workspace.step_dir(config, "distill") / file)
        found = metrics["gain"]["agreement"][name]
        assert found["top1"] == pytest.approx((probs.argmax(-1) == logits.argmax(-1)).mean())
        expected = (probs * (np.log(probs) - log_softmax(logits, -1))).sum(axis=-1).mean()
        assert found["kl"] == pytest.approx(expected, rel=1e-4)


def test_what_did_not_help_is_said_and_a_criterion_can_refuse_it(
    labelled: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A soft loss that counts next to nothing."""
    weights = "distillation.loss_weights={kl_divergence: 1e-9, cross_entropy: 1}"
    short = "training.epochs=1", "finetune.epochs=0"
    _, config, metrics = run(labelled, tmp_path / "workspace", WITH_BASELINE, weights, *short)
    assert metrics["gain"]["helped"] is False
    assert "distillation did not help: student has" in capsys.readouterr().err
    wanted = config.model_copy(update={"criteria": {"distill": {"gain.top1_difference": ">= 0.008"}}})
    with pytest.raises(CriterionError, match=r"distill student: gain\.top1_difference is .*, wanted >= 0\.008"):
        check_criteria("distill", metrics, wanted)
    check_criteria("distill", metrics, config.model_copy(update={"criteria": {"distill": {"gain.helped": "<= 0"}}}))


@pytest.mark.parametrize("loss", ["dist", "standardized_kl", "mse"])
@pytest.mark.parametrize("step", [label, distill])
def test_a_loss_that_needs_every_class_is_refused_before_anything_is_done(
    labelled: Workspace, loss: str, step: Any
) -> None:
    config = settings(labelled, "student", f"distillation.loss={loss}", "label.top_k=2")
    told = (
        f"distillation.loss: {loss} needs every class, and the soft labels keep 2 of 3; set label.top_k to 3, or choose"
    )
    with pytest.raises(ConfigError, match=told) as caught:
        step.run(config, labelled)
    assert "\n" not in str(caught.value)


def test_what_it_is_measured_on_counts_only_with_a_baseline(labelled: Workspace) -> None:
    step = STEPS["distill"]
    plain, changed = settings(labelled, "student"), settings(labelled, "student", "evaluate.split=validation")
    assert step.fingerprint(plain) == step.fingerprint(changed)
    both = [settings(labelled, "student", WITH_BASELINE, *more) for more in ((), ("evaluate.split=validation",))]
    assert step.fingerprint(both[0]) != step.fingerprint(both[1])
    assert [path.name for path in step.outputs(both[0], labelled)] == ["best.keras", "baseline.keras"]


def test_photos_that_no_teacher_speaks_for_are_left_out_of_the_agreement() -> None:
    shares = share_say(np.array([[True], [False], [True], [False]]), [0.5])
    np.testing.assert_array_equal(shares[:, 0], [1, 0, 1, 0])
    teacher, student = np.eye(3)[[0, 1, 2, 0]] * 4, np.eye(3)[[0, 2, 1, 1]] * 4
    (found,) = measure_agreement([teacher], shares, {"student": student}).values()
    likeliest, other = np.exp(4) / (np.exp(4) + 2), 1 / (np.exp(4) + 2)
    assert found == Agreement(0.5, pytest.approx((likeliest - other) * 4 / 2))
    assert measure_agreement([teacher], np.zeros((4, 1)), {"student": student}) == {}
