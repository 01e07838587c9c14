"""`evaluate`: how right a model is, whole, per region, per class and by class frequency, in the plan's words."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json
from tfpipe.core.inputs import ImageInput
from tfpipe.core.progress import track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.long_tail import count_classes
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records, check_classes
from tfpipe.data.rows import iter_rows
from tfpipe.models.saving import load_model
from tfpipe.stages import reference
from tfpipe.training.reproducible import make_reproducible
from tfpipe.training.scores import score

BATCH = 64
Array = np.ndarray
Predict = Callable[[tf.Tensor], tf.Tensor]
"""(batch, size, size, 3) → (batch, columns)."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Predict the whole split, all regions, and write `predictions.npz` (ids, logits, labels)."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    network, card = load_model(workspace.best_path(config))
    records = Records(workspace.records_dir(config), config.evaluate.split)
    check_classes(records.classes, card.classes, f"the model of {config.name}")
    folder = workspace.step_dir(config, "evaluate")
    answers = RowFile(folder / "logits.f32", len(card.classes))
    predict(compiled(network), records, card.image_input, answers, f"evaluate {config.name}")
    logits = answers.read()
    ids, regions, labels = records.facts()
    save_predictions(folder, ids, logits, labels)
    scores = score(
        logits,
        labels,
        regions=regions,
        classes=card.classes,
        train_counts=count_training(config, workspace, card.classes),
        settings=config.evaluate,
    )
    answers.path.unlink()
    return {"split": config.evaluate.split} | _gain(scores["top1_accuracy"], config, workspace) | scores


def compiled(network: keras.Model) -> Predict:
    """The network as a function, traced once for batches of any size."""
    return tf.function(partial(network, training=False), reduce_retracing=True)


def predict(
    network: Predict, records: Records, image_input: ImageInput, answers: RowFile, title: str, *, before: int = 0
) -> None:
    """Write what a network says of every example behind the first `before` rows of a file; go on where it ends."""
    done = len(answers) - before
    if done >= records.num_examples:
        return
    # Only whole batches are kept: in a batch of another size, an answer may differ in its last bit.
    first = done // BATCH * BATCH
    batches = evaluation_batches(records, image_input, batch_size=BATCH, first=first)
    left = -(-(records.num_examples - first) // BATCH)
    answers.extend((network(images).numpy() for images, _ in track(batches, title, left)), first=before + first)


def count_training(config: Config, workspace: Workspace, classes: list[str]) -> Array:
    """(num_classes,): training rows of each class, of all regions, so that every report has the same buckets."""
    return count_classes(iter_rows(workspace.splits_path(config)), classes, split="train", region=None)


def save_predictions(folder: Path, ids: Array, logits: Array, labels: Array) -> None:
    """`predictions.npz`, for whatever looks at answers later."""
    with atomic_open(folder / "predictions.npz", "wb") as file:
        np.savez(file, ids=ids, logits=logits, labels=labels)


def _gain(top1_accuracy: float, config: Config, workspace: Workspace) -> Metrics:
    """By how much the model is better than frozen features; on another split than theirs there is no telling."""
    if config.evaluate.split != "test" or not reference(config):
        return {}
    baseline = read_json(workspace.step_dir(config.dataset_config, "baseline") / "metrics.json")["top1_accuracy"]
    return {"baseline_top1_accuracy": baseline, "gain_over_baseline": top1_accuracy - baseline}
