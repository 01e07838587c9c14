"""`evaluate` on three colours: its files agree with its predictions, with each other, and with other models'."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from colours import MEANS, SIDE, SIZES, make_workspace, read_predictions, settings, write_teacher
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError, MismatchError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.steps import build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.data.looks import look_batches
from tfpipe.data.records import Records
from tfpipe.models.saving import load_model
from tfpipe.stages import STEPS, evaluate
from tfpipe.stages.evaluate.predictions import compiled, load_predictions

CLASSES = sorted(SIZES)
BLIND = ((-1, -1, 1), (1, -1, 1), (-1, 1, -1))
"""Of a network that mixes up the colours."""
ROUGH = tuple(((np.array(MEANS) + np.array(BLIND)) / 2).tolist())
"""Of a network that knows two of them."""
REGIONS = {"0": "US", "1": "EU"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def metrics(workspace: Workspace) -> dict[str, Any]:
    """What `evaluate` says of a network that knows two colours, beside one that mixes up all."""
    other = settings(workspace, "other")
    write_teacher(workspace, other, BLIND)
    evaluate.run(other, workspace)
    config = settings(workspace, "teacher", "evaluate.against=[other.yaml]")
    write_teacher(workspace, config, ROUGH)
    return evaluate.run(config, workspace)


@pytest.fixture
def folder(workspace: Workspace, metrics: dict[str, Any]) -> Path:
    return workspace.step_dir(settings(workspace, "teacher"), "evaluate")


def said(workspace: Workspace, name: str = "teacher") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids, regions, probabilities and labels, as `predictions.npz` has them."""
    ids, logits, labels = read_predictions(workspace, settings(workspace, name), "evaluate")
    regions = np.array([REGIONS[str(int(name.split("-")[2]) % 2)] for name in ids])
    return ids, regions, softmax(logits.astype(np.float64), axis=-1), labels


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_plans_two_files_have_the_plans_keys(workspace: Workspace, metrics: dict[str, Any], folder: Path) -> None:
    _, regions, probs, labels = said(workspace)
    right = probs.argmax(axis=-1) == labels
    assert metrics["per_region"] == pytest.approx({name: right[regions == name].mean() for name in ("EU", "US")})
    by_region = json.loads((folder / "eval_by_region.json").read_text())
    assert {name: numbers["top1"] for name, numbers in by_region.items()} == metrics["per_region"]
    assert {numbers["top5"] for numbers in by_region.values()} == {1.0}
    assert by_region["EU"]["num_examples"] == (regions == "EU").sum()
    for numbers in by_region.values():
        assert numbers["top1_interval"]["low"] <= numbers["top1"] <= numbers["top1_interval"]["high"]
    found = metrics["intervals"]["top1_accuracy"]
    assert found["low"] < right.mean() < found["high"]


def test_every_photo_is_a_line_that_agrees_with_the_logits(workspace: Workspace, folder: Path) -> None:
    ids, regions, probs, labels = said(workspace)
    lines = read_csv(folder / "predictions.csv")
    assert [line["id"] for line in lines] == ids.tolist()
    assert [line["region"] for line in lines] == regions.tolist()
    assert [line["label"] for line in lines] == [CLASSES[label] for label in labels]
    order = np.argsort(-probs, axis=-1)
    for line, row, answers, label in zip(lines, probs, order, labels, strict=True):
        assert [line["answer"], line["answer_2"], line["answer_3"]] == [CLASSES[answer] for answer in answers]
        shown = [float(line[name]) for name in ("confidence", "confidence_2", "confidence_3")]
        assert shown == pytest.approx(row[answers].tolist(), abs=1e-5)
        assert float(line["loss"]) == pytest.approx(-np.log(row[label]), abs=1e-4)


def test_every_class_is_a_line_with_recall_and_precision(workspace: Workspace, folder: Path) -> None:
    _, _, probs, labels = said(workspace)
    answers = probs.argmax(axis=-1)
    lines = {line["label"]: line for line in read_csv(folder / "per_class.csv")}
    assert sorted(lines) == CLASSES
    for name, judge in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
        expected = judge(labels, answers, average=None, zero_division=0)
        assert [float(lines[each][name] or 0) for each in CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [int(lines[each]["train_examples"]) for each in CLASSES] == [SIZES[each][0] for each in CLASSES]
    recalls = [float(line["recall"]) for line in read_csv(folder / "per_class.csv")]
    assert recalls == sorted(recalls)


def test_confusions_are_those_of_the_other_network(workspace: Workspace, metrics: dict[str, Any]) -> None:
    """The one that mixes up the colours; each pair with a mistaken photo of it."""
    path = workspace.step_dir(settings(workspace, "other"), "evaluate") / "report.html"
    ids, _, probs, labels = said(workspace, "other")
    matrix = confusion_matrix(labels, probs.argmax(axis=-1))
    np.fill_diagonal(matrix, 0)
    found = evaluate._confusions(load_predictions(path.parent), 20)
    assert {(pair["label"], pair["answer"]): pair["count"] for pair in found} == {
        (CLASSES[row], CLASSES[column]): count for (row, column), count in np.ndenumerate(matrix) if count
    }
    for pair in found:
        number = ids.tolist().index(pair["example"])
        assert CLASSES[labels[number]] == pair["label"]
        assert CLASSES[probs[number].argmax()] == pair["answer"]
    page = path.read_text()
    pictured = [pair[key] for pair in found for key in ("example", "counterpart") if pair[key]]
    assert page.count("data:image/webp;base64,") == len(pictured)
    assert all(f"<code>{name}</code>" in page for name in pictured)


def test_plots_are_pictures_and_tensorboard_has_them(folder: Path) -> None:
    names = {"regions", "buckets", "classes", "confusion", "reliability", "against"}
    assert {path.stem for path in folder.glob("*.png")} == names
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 150
    (events,) = (folder / "logs").iterdir()
    records = tf.data.TFRecordDataset(str(events)).as_numpy_iterator()
    tags = {value.tag for record in records for value in tf.compat.v1.Event.FromString(record).summary.value}
    assert tags == names | {"top1_accuracy", "top5_accuracy", "macro_accuracy", "macro_f1", "weighted_f1", "loss"}


def test_two_models_are_compared_photo_by_photo(workspace: Workspace, metrics: dict[str, Any]) -> None:
    (other, found), *_ = metrics["against"].items()
    assert other == "other"
    rights = {}
    for name in ("teacher", "other"):
        _, regions, probs, labels = said(workspace, name)
        rights[name] = probs.argmax(axis=-1) == labels
    expected = rights["teacher"].mean() - rights["other"].mean()
    assert found["top1_accuracy"]["difference"] == pytest.approx(expected)
    assert found["top1_accuracy"]["low"] < expected < found["top1_accuracy"]["high"]
    only = (rights["teacher"] & ~rights["other"]).sum()
    assert found["mcnemar"]["only_this"] == only
    for region, numbers in found["by_region"].items():
        inside = regions == region
        difference = rights["teacher"][inside].mean() - rights["other"][inside].mean()
        assert numbers["top1"]["difference"] == pytest.approx(difference)


def test_a_twin_differs_nowhere_in_any_resample(workspace: Workspace, metrics: dict[str, Any]) -> None:
    """Only if both are resampled alike is there no spread."""
    twin = settings(workspace, "third")
    write_teacher(workspace, twin, ROUGH)
    evaluate.run(twin, workspace)
    found = evaluate.run(settings(workspace, "teacher", "evaluate.against=[third.yaml]"), workspace)["against"]["third"]
    rows = [row for row in found.values() if "difference" in row]
    rows += [row for numbers in found["by_region"].values() for row in (numbers["top1"], numbers["top5"])]
    assert len(rows) == 6 + 4
    assert {row[key] for row in rows for key in ("difference", "low", "high")} == {0.0}
    evaluate.run(settings(workspace, "teacher", "evaluate.against=[other.yaml]"), workspace)


def test_the_table_says_who_is_better_where(
    workspace: Workspace, metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.run(settings(workspace, "teacher", "evaluate.against=[other.yaml]"), workspace)
    lines = capsys.readouterr().err.splitlines()
    (top1,) = [line for line in lines if line.strip().startswith("top-1")]
    found = metrics["against"]["other"]["top1_accuracy"]
    assert [float(part) for part in top1.split()[1:4]] == pytest.approx(
        [100 * found[key] for key in ("this", "that", "difference")], abs=0.051
    )
    assert top1.endswith("teacher is better")
    assert any(line.strip().startswith("EU (15) top-1") for line in lines)


def test_the_same_command_gives_the_same_bytes(workspace: Workspace, metrics: dict[str, Any], folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = evaluate.run(settings(workspace, "teacher", "evaluate.against=[other.yaml]"), workspace)
    assert json.dumps(again) == json.dumps(metrics)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


# Views


def test_the_first_look_is_the_plain_one_and_the_second_its_mirror_image(workspace: Workspace) -> None:
    from tfpipe.data.pipeline import evaluation_batches

    config = settings(workspace, "teacher")
    records, spec = Records(workspace.records_dir(config), "test"), ImageInput(SIDE)
    looks = np.concatenate(list(look_batches(records, spec, looks=4, batch_size=7).as_numpy_iterator()))
    plain = np.concatenate([images for images, _ in evaluation_batches(records, spec, batch_size=64)])
    assert looks.shape == (30, 4, SIDE, SIDE, 3)
    np.testing.assert_array_equal(looks[:, 0], plain)
    np.testing.assert_array_equal(looks[:, 1], plain[:, :, ::-1])
    np.testing.assert_array_equal(looks[:, 3], looks[:, 2, :, ::-1])
    # 7/8 of 32 pixels, of which 2 are left out on each side.
    window = tf.image.resize((plain * 127.5 + 127.5)[:, 2:30, 2:30], (SIDE, SIDE), antialias=True)
    np.testing.assert_allclose(looks[:, 2], (window - 127.5) / 127.5, atol=1e-4)


def test_several_views_are_averaged(workspace: Workspace, metrics: dict[str, Any]) -> None:
    """By a network whose one pixel is another in each view."""
    config = settings(workspace, "third", "evaluate.views=3")
    write_teacher(workspace, config, pixels=1)
    found = evaluate.run(config, workspace)
    network, card = load_model(workspace.best_path(config))
    records = Records(workspace.records_dir(config), "test")
    (looks,) = look_batches(records, card.model_input, looks=3, batch_size=64).as_numpy_iterator()
    expected = np.mean([softmax(network(looks[:, view]).numpy(), axis=-1) for view in range(3)], axis=0)
    _, _, probs, _ = said(workspace, "third")
    np.testing.assert_allclose(probs, expected, rtol=1e-4)
    assert found["views"] == 3


# What cannot be compared


def other_labels(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return columns | {"labels": columns["labels"][::-1]}


def other_photos(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values if name == "classes" else values[:20] for name, values in columns.items()}


def other_classes(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return columns | {"classes": np.array(["blue", "green", "rot"])}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_labels, "other labels of the same photos"),
        (other_photos, "was measured on 20 photos, this one on 30, and 20 are the same"),
        (other_classes, r"other\.yaml \(evaluate.against of .*teacher\.yaml\) knows 3 classes.*gone: rot; new: red"),
    ],
)
def test_models_of_other_photos_are_refused(
    workspace: Workspace,
    metrics: dict[str, Any],
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    told: str,
) -> None:
    path = workspace.step_dir(settings(workspace, "other"), "evaluate") / "predictions.npz"
    content = path.read_bytes()
    try:
        with np.load(path) as saved:
            np.savez(path, **change(dict(saved)))
        with pytest.raises(MismatchError, match=told) as caught:
            evaluate.run(settings(workspace, "teacher", "evaluate.against=[other.yaml]"), workspace)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(content)


def against(workspace: Workspace, files: dict[str, str], start: str) -> Config:
    for name, text in files.items():
        (workspace.root / name).write_text(text)
    return load_config(workspace.root / start)


MODEL = "model: {name: vit_micro_patch8_32}\n"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.yaml": "evaluate: {against: [a.yaml]}"}, "`evaluate a` needs `evaluate a`: a circle"),
        (
            {"a.yaml": "evaluate: {against: [b.yaml]}", "b.yaml": "evaluate: {against: [a.yaml]}"},
            "`evaluate a` needs `evaluate b` needs `evaluate a`: a circle",
        ),
        (
            {"a.yaml": "evaluate: {against: [b.yaml]}", "b.yaml": "evaluate: {split: validation}"},
            "b.yaml is measured on validation, and this one on test",
        ),
        (
            {"a.yaml": "evaluate: {against: [b.yaml]}", "b.yaml": "dataset: others"},
            "b.yaml knows the data set of .*b.yaml, and this one that of .*dataset.yaml",
        ),
        ({"a.yaml": "evaluate: {against: [nowhere.yaml]}"}, "nowhere.yaml: no such settings file"),
        ({"a.yaml": "evaluate: {against: [dataset.yaml]}"}, "dataset.yaml holds a dataset's settings"),
    ],
)
def test_what_leads_nowhere_is_refused_before_anything_runs(
    workspace: Workspace, files: dict[str, str], told: str
) -> None:
    rest = {"a.yaml": f"data: {{config: dataset.yaml}}\n{MODEL}", "b.yaml": MODEL}
    files = {name: rest[name] + text for name, text in files.items()}
    if "dataset: others" not in files.get("b.yaml", ""):
        files |= {"b.yaml": "data: {config: dataset.yaml}\n" + files["b.yaml"]} if "b.yaml" in files else {}
    config = against(workspace, files, "a.yaml")
    with pytest.raises(ConfigError, match=told) as caught:
        build_graph(STEPS, config, "evaluate", workspace)
    assert "\n" not in str(caught.value)


def test_one_network_is_right_more_often(metrics: dict[str, Any]) -> None:
    """Where these tests would tell nothing if both networks were alike, or never wrong."""
    assert 1 > metrics["top1_accuracy"] > 0.75 > metrics["against"]["other"]["top1_accuracy"]["that"] > 0


def test_a_network_is_drawn_once_for_batches_of_any_size() -> None:
    drawn: list[int | None] = []

    class Told(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            drawn.append(inputs.shape[0])
            return inputs

    ask = compiled(keras.Sequential([keras.Input((3,)), Told()]))
    drawn.clear()
    for size in (4, 4, 3, 1):
        assert ask(tf.zeros((size, 3))).shape == (size, 3)
    assert drawn == [None]
