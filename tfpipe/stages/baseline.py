"""`baseline`: how far simple means come without a network that was trained for the task."""

from collections.abc import Iterable

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.progress import progress, track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.assignment import SPLITS
from tfpipe.data.records import Records
from tfpipe.data.rows import Row, iter_rows
from tfpipe.models.mobilenet import NORMALISATION, build_features
from tfpipe.stages.evaluate.predictions import compiled, count_training, predict, save_predictions
from tfpipe.training import bag_of_words, probe
from tfpipe.training.outcomes import cross_entropy, judge, label_places, top_k_accuracy
from tfpipe.training.reproducible import make_reproducible
from tfpipe.training.scores import score

Array = np.ndarray


def run(config: Config, workspace: Workspace) -> Metrics:
    """Score on test what was fitted on train and validation, with the penalty that did best on validation before.

    Writes `predictions.npz` as `evaluate` does.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    return TASKS[config.task](config, workspace)


def _of_images(config: Config, workspace: Workspace) -> Metrics:
    """A linear probe on frozen features, and the nearest class mean."""
    splits = [Records(workspace.records_dir(config), name) for name in SPLITS]
    classes, folder = splits[0].classes, workspace.step_dir(config, "baseline")
    num_train, num_validation, _ = (records.num_examples for records in splits)
    known, test = slice(num_train + num_validation), slice(num_train + num_validation, None)
    features = _features(splits, config, workspace)
    ids, regions, labels = (np.concatenate(column) for column in zip(*(r.facts() for r in splits), strict=True))
    penalty = _choose_penalty(features[known], labels[known], num_train, len(classes), config)
    layers = _fit_layers(features[known], labels[known], len(classes), [penalty], config)
    means = probe.fit_class_means(features[known], labels[known], len(classes))
    answers = RowFile(folder / "logits.f32", len(classes))
    answers.extend(layers.iter_logits(features[test], 0), first=0)
    save_predictions(folder, {"ids": ids[test], "logits": answers.read(), "labels": labels[test]})
    metrics = {
        "features": _told(config),
        "l2_penalty": penalty,
        "nearest_mean_top1_accuracy": _top1(means.iter_cosines(features[test]), labels[test]),
    } | score(
        judge(answers.read(), labels[test]),
        regions=regions[test],
        classes=classes,
        train_counts=count_training(config, workspace, classes),
        settings=config.evaluate,
    )
    # They may take as much space as the photos, and nothing reads them any more.
    answers.path.unlink()
    (folder / "features.f32").unlink()
    return metrics


def _features(splits: list[Records], config: Config, workspace: Workspace) -> Array:
    """(examples, channels) of the splits one after the other, on disk; what an interrupted run wrote is kept."""
    network = build_features(config.baseline)
    model_input = ImageInput(config.baseline.image_size, NORMALISATION.mean, NORMALISATION.scale)
    predict_batch = compiled(network)
    file = RowFile(workspace.step_dir(config, "baseline") / "features.f32", network.output_shape[-1])
    before = 0
    for records in splits:
        title = f"baseline {config.dataset}: features of {records.split}"
        predict(predict_batch, records, model_input, file, title, before=before)
        before += records.num_examples
    return file.read()


def _choose_penalty(features: Array, labels: Array, num_train: int, num_classes: int, config: Config) -> float:
    """The one with the lowest loss behind the first `num_train` examples, where accuracy would often tie."""
    penalties = [penalty / num_classes for penalty in probe.PENALTIES]
    layers = _fit_layers(features[:num_train], labels[:num_train], num_classes, penalties, config)
    losses = [_loss(layers.iter_logits(features[num_train:], n), labels[num_train:]) for n in range(len(penalties))]
    return penalties[int(np.argmin(losses))]


def _fit_layers(
    features: Array, labels: Array, num_classes: int, penalties: list[float], config: Config
) -> probe.LinearLayers:
    with progress(f"baseline {config.dataset}: linear probe", probe.num_steps(len(labels))) as advance:
        return probe.fit_linear_layers(
            features, labels, num_classes, penalties=penalties, seed=config.seed, advance=advance
        )


def _loss(logits: Iterable[Array], labels: Array) -> float:
    losses = [cross_entropy(*part) * len(part[1]) for part in zip(logits, probe.in_chunks(labels), strict=True)]
    return sum(losses) / len(labels)


def _top1(logits: Iterable[Array], labels: Array) -> float:
    places = [label_places(*part) for part in zip(logits, probe.in_chunks(labels), strict=True)]
    return float((np.concatenate(places) == 0).mean())


def _told(config: Config) -> str:
    settings = config.baseline
    return f"MobileNetV2 {settings.alpha:g} at {settings.image_size} px, weights: {settings.weights}"


def _of_texts(config: Config, workspace: Workspace) -> Metrics:
    """Logistic regression on TF-IDF."""
    splits = _rows_of_splits(config, workspace)
    classes = sorted({row.label for rows in splits.values() for row in rows})
    number_of = {name: number for number, name in enumerate(classes)}
    if len(classes) < 2:
        raise DataError(
            f"{workspace.splits_path(config)}: all texts are {classes[0]!r}: there is nothing to tell apart."
        )
    texts = {split: [row.text for row in rows] for split, rows in splits.items()}
    labels = {split: np.array([number_of[row.label] for row in rows]) for split, rows in splits.items()}
    strength = _choose_strength(texts, labels, config)
    known_texts, known_labels = texts["train"] + texts["validation"], np.append(labels["train"], labels["validation"])
    log_probs = next(bag_of_words.iter_fitted(known_texts, known_labels, [strength])).log_probs(texts["test"])
    ids = np.array([row.id for row in splits["test"]])
    save_predictions(
        workspace.step_dir(config, "baseline"), {"ids": ids, "logits": log_probs, "labels": labels["test"]}
    )
    return {"features": bag_of_words.FEATURES, "inverse_l2_penalty": strength} | score(
        judge(log_probs, labels["test"]),
        regions=np.array([row.region for row in splits["test"]]),
        classes=classes,
        train_counts=count_training(config, workspace, classes),
        settings=config.evaluate,
    )


def _choose_strength(texts: dict[str, list[str]], labels: dict[str, Array], config: Config) -> float:
    strengths = bag_of_words.STRENGTHS
    fitted = bag_of_words.iter_fitted(texts["train"], labels["train"], strengths)
    accuracies = {
        model.strength: top_k_accuracy(model.log_probs(texts["validation"]), labels["validation"], 1)
        for model in track(fitted, f"baseline {config.dataset}", len(strengths))
    }
    return max(accuracies, key=lambda strength: accuracies[strength])


def _rows_of_splits(config: Config, workspace: Workspace) -> dict[str, list[Row]]:
    """The rows of each split.

    Raises:
        DataError: when a split has none.
    """
    rows = list(iter_rows(workspace.splits_path(config)))
    splits = {name: [row for row in rows if row.split == name] for name in SPLITS}
    for name, rows in splits.items():
        if not rows:
            raise DataError(f"{workspace.splits_path(config)}: no rows in {name}. Check `split` in {config.path}.")
    return splits


TASKS = {"image": _of_images, "text": _of_texts}
