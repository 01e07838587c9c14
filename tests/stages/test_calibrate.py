"""`calibrate` on three colours: its files agree with the network's logits, and with each other."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from colours import SIDE, SIZES, make_workspace, settings, write_teacher
from PIL import Image
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from tfpipe.core import steps
from tfpipe.core.config import Config
from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import ConfigError, CriterionError, DataError, MismatchError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records, classes_sha256
from tfpipe.models.saving import Card, load_model, save_model, weights_sha256
from tfpipe.stages import STEPS, calibrate
from tfpipe.stages.calibrate.decisions import Calibration, fit_calibration
from tfpipe.stages.calibrate.report import iter_sentences
from tfpipe.training.threshold import Threshold

CLASSES = sorted(SIZES)
UNSURE = ((-3.0, -1.8, 3.0), (0.0, 1.2, 0.0), (0.0, 0.0, 0.0))
"""Of a network that knows red well, and the others by little."""
ASKED = (
    *("calibrate.temperature=always", "calibrate.min_answers=5", "calibrate.sets=class_conditional"),
    "calibrate.resamples=100",
)
Asked = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def config(workspace: Workspace) -> Config:
    config = settings(workspace, "teacher", *ASKED)
    write_teacher(workspace, config, UNSURE, pixels=2)
    return config


@pytest.fixture(scope="module")
def metrics(workspace: Workspace, config: Config) -> dict[str, Any]:
    return calibrate.run(config, workspace)


@pytest.fixture
def document(workspace: Workspace, metrics: dict[str, Any], config: Config) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.calibration_path(config).read_text())
    return found


@pytest.fixture(scope="module")
def asked(workspace: Workspace, config: Config, metrics: dict[str, Any]) -> Asked:
    """Split → logits and labels, from the network itself."""
    network, card = load_model(workspace.best_path(config))
    found = {}
    for split in ("validation", "test"):
        records = Records(workspace.records_dir(config), split)
        ((images, _),) = evaluation_batches(records, card.model_input, batch_size=64)
        found[split] = (network(images).numpy(), records.facts()[2])
    return found


@pytest.fixture
def third(workspace: Workspace) -> Iterator[Config]:
    config = settings(workspace, "third", *ASKED)
    yield config
    shutil.rmtree(workspace.run_dir(config))


def test_the_plans_keys_are_those_of_the_network_on_validation(
    workspace: Workspace, config: Config, document: dict[str, Any], asked: Asked
) -> None:
    logits, labels = asked["validation"]
    probs = softmax(logits, axis=-1)
    assert document["true_labels"] == labels.tolist()
    assert document["predicted_labels"] == probs.argmax(axis=-1).tolist()
    assert document["predicted_probs"] == pytest.approx(probs.max(axis=-1).tolist(), rel=1e-4)
    calibrated = softmax(logits / document["temperature"], axis=-1).max(axis=-1)
    assert document["calibrated_probs"] == pytest.approx(calibrated.tolist(), rel=1e-4)
    right = np.array(document["predicted_labels"]) == labels
    shares, means = calibration_curve(right, document["predicted_probs"], n_bins=15)
    assert document["mce"] == pytest.approx(np.abs(shares - means).max())
    assert document["ece"] < document["mce"]
    assert document["threshold"] in document["calibrated_probs"]
    answered = np.array(document["calibrated_probs"]) >= document["threshold"]
    assert document["validation"]["threshold"]["precision"] == right[answered].mean() >= 0.95


def test_the_head_is_of_test_and_follows_from_the_short_form_alone(
    workspace: Workspace, config: Config, metrics: dict[str, Any], document: dict[str, Any], asked: Asked
) -> None:
    """As the page will do it."""
    short = json.loads(workspace.page_calibration_path(config).read_text())
    logits, labels = asked["test"]
    probs = softmax(logits / short["temperature"], axis=-1)
    answered = probs.max(axis=-1) >= short["threshold"]
    right = probs.argmax(axis=-1) == labels
    assert short["coverage"] == metrics["coverage"] == answered.mean()
    assert short["precision"] == metrics["precision"] == right[answered].mean()
    quantiles = [short["sets"]["of_class"].get(str(number), short["sets"]["quantile"]) for number in range(3)]
    # Of ten red validation photos there is a quantile; of two blue and four green together there is none.
    assert list(short["sets"]["of_class"]) == [str(CLASSES.index("red"))]
    sets = probs >= 1 - np.array(quantiles)
    assert metrics["test"]["sets"]["mean_size"] == pytest.approx(sets.sum() / len(labels))
    assert metrics["test"]["sets"]["coverage"] == sets[np.arange(len(labels)), labels].mean()
    network, card = load_model(workspace.best_path(config))
    assert short["model_sha256"] == document["model_sha256"] == weights_sha256(network)
    assert short["classes_sha256"] == classes_sha256(card.classes)
    assert set(short) == {
        *("temperature", "threshold", "precision", "coverage", "target_precision", "sets"),
        *("classes_sha256", "model_sha256"),
    }


def test_regions_are_told_apart(metrics: dict[str, Any]) -> None:
    regions = metrics["test"]["by_region"]
    assert {name: found["after"]["num_examples"] for name, found in regions.items()} == {"EU": 15, "US": 15}
    for name in ("num_examples", "num_answers", "num_right"):
        assert sum(found["threshold"][name] for found in regions.values()) == metrics["test"]["threshold"][name]
    held = [found["sets"]["coverage"] for found in regions.values()]
    assert np.mean(held) == pytest.approx(metrics["test"]["sets"]["coverage"])
    losses = [found["after"]["nll"] for found in regions.values()]
    assert np.mean(losses) == pytest.approx(metrics["test"]["after"]["nll"])


def test_test_photos_have_no_say(workspace: Workspace, config: Config, metrics: dict[str, Any], asked: Asked) -> None:
    calibration = fit_calibration(*asked["validation"], config.calibrate)
    assert metrics["temperature"] == pytest.approx(calibration.temperature, rel=1e-5)
    assert metrics["threshold"] == pytest.approx(calibration.threshold.value, rel=1e-5)
    assert metrics["validation"]["after"]["nll"] < metrics["validation"]["before"]["nll"]


def test_plots_are_pictures_and_tensorboard_has_them(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    folder = workspace.step_dir(config, "calibrate")
    assert {path.name for path in folder.iterdir()} == {
        *("calibration.json", "page.json", "calibration.png", "risk_coverage.png", "logs")
    }
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 500
    (events,) = (folder / "logs").iterdir()
    records = tf.data.TFRecordDataset(str(events)).as_numpy_iterator()
    tags = {value.tag for record in records for value in tf.compat.v1.Event.FromString(record).summary.value}
    assert {"calibration", "risk_coverage", "after/ece", "before/brier", "temperature"} <= tags


def test_the_same_command_gives_the_same_bytes(workspace: Workspace, config: Config, metrics: dict[str, Any]) -> None:
    folder = workspace.step_dir(config, "calibrate")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert json.dumps(calibrate.run(config, workspace)) == json.dumps(metrics)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_criteria_may_ask_for_any_number(workspace: Workspace, metrics: dict[str, Any]) -> None:
    def check(**bounds: str) -> None:
        check_criteria("calibrate", metrics, settings(workspace, "teacher", f"criteria.calibrate={json.dumps(bounds)}"))

    check(**{"test.by_region.EU.after.ece": "< 1", "temperature": "> 0", "precision_reached": ">= 0"})
    with pytest.raises(CriterionError, match=r"test\.threshold\.coverage_interval\.low is 0\.\d+, wanted > 1"):
        check(**{"test.threshold.coverage_interval.low": "> 1"})


# What was decided


@pytest.mark.parametrize(
    ("overrides", "applied", "told"),
    [
        (("temperature=never",), False, "the settings say never"),
        (("temperature=always",), True, "the settings say always"),
        (("max_ece=1",), False, "not applied: validation ECE is 0.*, not above 1"),
        (("max_ece=0",), True, r"applied: validation ECE is 0.*, above 0, and 0\.\d+ with it"),
        (("min_answers=17",), None, "no threshold: validation has 16 photos, and calibrate.min_answers asks for 17"),
        (("precision=1", "min_answers=16"), None, "no threshold reaches 100 % on validation; 0.* is the best there is"),
        (("precision=0.5", "min_answers=1"), None, r"on validation \d.* % \[.*\] of the answers are right, 100 % \["),
    ],
)
def test_what_was_decided_is_said(
    workspace: Workspace,
    config: Config,
    metrics: dict[str, Any],
    overrides: tuple[str, ...],
    applied: bool | None,
    told: str,
    asked: Asked,
) -> None:
    changed = settings(
        workspace, "teacher", "calibrate.resamples=5", *(f"calibrate.{override}" for override in overrides)
    )
    logits, labels = asked["validation"]
    said = calibrate.Said(np.full(len(labels), ""), labels, logits)
    calibration = fit_calibration(said.logits, said.labels, changed.calibrate)
    found = calibrate._measure(calibration, said, said, changed)
    sentences = list(iter_sentences(found, changed))
    assert any(re.search(told, each) for each in sentences), sentences
    if applied is not None:
        assert (calibration.temperature != 1) == applied
    if calibration.threshold.value is None:
        assert (found["coverage"], found["precision"]) == (1, found["test"]["after"]["top1_accuracy"])


def test_wrong_labels_do_not_make_a_good_network_doubt(workspace: Workspace) -> None:
    """One in fifty, where it is surest: they ask for a temperature that makes all other answers too unsure."""
    labels = np.arange(1000) % 3
    logits = np.random.default_rng(0).normal(0, 1, (1000, 3)).astype(np.float32)
    logits[np.arange(1000), labels] += np.where(np.arange(1000) % 50, 7, 60)
    labels[::50] = (labels[::50] + 1) % 3
    changed = settings(workspace, "teacher", "calibrate.max_ece=0", "calibrate.resamples=5")
    calibration = fit_calibration(logits, labels, changed.calibrate)
    assert calibration.fitted_temperature > 2
    assert calibration.temperature == 1
    said = calibrate.Said(np.full(1000, ""), labels, logits)
    sentences = list(iter_sentences(calibrate._measure(calibration, said, said, changed), changed))
    assert re.search(r"not applied: validation ECE is 0\.0\d+, above 0, but 0\.\d+ with it", sentences[0]), sentences


def test_a_network_that_is_never_wrong_has_no_temperature(workspace: Workspace) -> None:
    labels = np.arange(40) % 3
    changed = settings(workspace, "teacher", "calibrate.temperature=always")
    calibration = fit_calibration(np.eye(3, dtype=np.float32)[labels], labels, changed.calibrate)
    assert calibration.temperature == 1
    assert calibration.threshold.reached


def test_a_threshold_that_no_photo_reaches_is_told_in_json_that_a_browser_reads(config: Config, asked: Asked) -> None:
    logits, labels = asked["test"]
    said = calibrate.Said(np.full(len(labels), ""), labels, logits)
    beyond = Calibration(1.0, 1.0, 0.0, Threshold(2.0, reached=True), None)
    short = calibrate._short(beyond, calibrate._measure(beyond, said, said, config), config)
    assert json.loads(json.dumps(short, allow_nan=False)) == short
    assert (short["coverage"], short["precision"], short["sets"]) == (0, None, None)


# What cannot be calibrated


def test_what_is_no_number_is_refused_by_the_photos_id(workspace: Workspace, third: Config) -> None:
    write_teacher(workspace, third, ((np.nan,) * 3,) * 3)
    with pytest.raises(DataError, match=r"third, asked of validation, gives \w+-validation-\d a logit that is no fin"):
        calibrate.run(third, workspace)


def test_one_bad_row_among_many_is_named() -> None:
    logits = np.zeros((20, 3), np.float32)
    logits[13, 1] = np.inf
    with pytest.raises(DataError, match="gives photo-13 a logit"):
        calibrate.check_finite(logits, np.array([f"photo-{number}" for number in range(20)]), "it")


def test_a_model_of_other_classes_is_refused(workspace: Workspace, third: Config) -> None:
    images = keras.Input((SIDE, SIDE, 3))
    network = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images)))
    save_model(network, Card("x", ["blue", "rot"], ImageInput(SIDE), [1, 1]), workspace.best_path(third))
    with pytest.raises(MismatchError, match="gone: rot; new: green, red"):
        calibrate.run(third, workspace)


def test_a_regional_model_is_calibrated_on_its_region(workspace: Workspace, third: Config) -> None:
    changed = settings(workspace, "third", "data.region=EU", *ASKED)
    write_teacher(workspace, changed, UNSURE, pixels=2)
    found = calibrate.run(changed, workspace)
    assert list(found["test"]["by_region"]) == ["EU"]
    assert (found["validation"]["after"]["num_examples"], found["test"]["after"]["num_examples"]) == (8, 15)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("calibrate.temperature=often", "calibrate.temperature: found 'often'; .*'auto', 'always' or 'never'"),
        ("calibrate.sets=all", "calibrate.sets: found 'all'; .*'none', 'marginal' or 'class_conditional'"),
        ("calibrate.set_level=1", "calibrate.set_level: found 1; .*less than 1"),
        ("calibrate.precision=95", "calibrate.precision: found 95; .*less than or equal to 1"),
        ("calibrate.min_answer=3", "calibrate.min_answer: unknown key. Did you mean `min_answers`"),
    ],
)
def test_settings_that_mean_nothing_are_refused(workspace: Workspace, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        settings(workspace, "teacher", override)
    assert "\n" not in str(caught.value)


def test_a_data_set_has_nothing_to_calibrate(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="holds a dataset's settings"):
        steps.build_graph(STEPS, settings(workspace, "dataset"), "calibrate", workspace)


def test_the_colours_are_hard_enough(metrics: dict[str, Any], workspace: Workspace, config: Config) -> None:
    """The tests above would prove little, were the network always right, or all answered."""
    assert 0.6 < metrics["test"]["after"]["top1_accuracy"] < 1
    assert Path(workspace.calibration_path(config)).is_file()
    assert metrics["temperature"] != 1
