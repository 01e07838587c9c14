"""What a network says of a split: made batch by batch, kept in `predictions.npz`, read again."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open
from tfpipe.core.inputs import ImageInput, ModelInput
from tfpipe.core.progress import track
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.long_tail import count_classes
from tfpipe.data.looks import look_batches
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.data.rows import iter_rows
from tfpipe.training.outcomes import Outcomes, mean_log_probs

BATCH = 64
Array = np.ndarray
Predict = Callable[[tf.Tensor], tf.Tensor]
"""Inputs (batch, …) → (batch, columns)."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of the photos of a split, in the records' order."""

    ids: Array
    regions: Array
    classes: list[str]
    outcomes: Outcomes

    def columns(self) -> dict[str, Array]:
        """As `load_predictions` reads them."""
        outcomes = self.outcomes
        return {
            "ids": self.ids,
            "regions": self.regions,
            "classes": np.array(self.classes),
            "labels": outcomes.labels,
            "places": outcomes.places,
            "losses": outcomes.losses,
            "top_answers": outcomes.top_answers,
            "top_probs": outcomes.top_probs,
        }


def save_predictions(folder: Path, columns: Mapping[str, Array]) -> None:
    """`predictions.npz`, for whatever looks at answers later."""
    with atomic_open(folder / "predictions.npz", "wb") as file:
        np.savez(file, **columns)


def load_predictions(folder: Path) -> Predictions:
    """What `evaluate` kept, without the logits, which may not fit into memory."""
    with np.load(folder / "predictions.npz") as saved:
        classes = saved["classes"].tolist()
        names = ("labels", "places", "losses", "top_answers", "top_probs")
        outcomes = Outcomes(len(classes), *(saved[name] for name in names))
        return Predictions(saved["ids"], saved["regions"], classes, outcomes)


def iter_logits(folder: Path) -> Iterator[Array]:
    """What `evaluate` kept of them, (batch, num_classes) float32 after another, in the records' order."""
    with zipfile.ZipFile(folder / "predictions.npz") as saved, saved.open("logits.npy") as file:
        np.lib.format.read_magic(file)
        (rows, columns), _, dtype = np.lib.format.read_array_header_1_0(file)
        for _ in range(0, rows, BATCH):
            yield np.frombuffer(file.read(BATCH * columns * dtype.itemsize), dtype).reshape(-1, columns)


def compiled(network: keras.Model) -> Predict:
    """The network as a function, traced once for batches of any size."""
    (inputs,) = network.inputs
    spec = tf.TensorSpec(inputs.shape, inputs.dtype)
    return tf.function(partial(network, training=False), input_signature=[spec], autograph=False)


def predict(
    network: Predict,
    records: Records,
    model_input: ModelInput,
    answers: RowFile,
    title: str,
    *,
    before: int = 0,
    views: int = 1,
) -> None:
    """Write what a network says of every example behind the first `before` rows of a file; go on where it ends.

    Of several views, the logarithm of their probabilities' mean.
    """
    done = len(answers) - before
    if done >= records.num_examples:
        return
    # Only whole batches are kept: in a batch of another size, an answer may differ in its last bit.
    first = done // BATCH * BATCH
    left = -(-(records.num_examples - first) // BATCH)
    said = _iter_said(network, records, model_input, first, views)
    answers.extend(track(said, title, left), first=before + first)


def _iter_said(network: Predict, records: Records, model_input: ModelInput, first: int, views: int) -> Iterator[Array]:
    """(batch, columns), batch after batch."""
    if views == 1:
        for images, _ in evaluation_batches(records, model_input, batch_size=BATCH, first=first):
            yield network(images).numpy()
        return
    assert isinstance(model_input, ImageInput)
    for looks in look_batches(records, model_input, looks=views, batch_size=BATCH, first=first):
        yield mean_log_probs(np.stack([network(looks[:, view]).numpy() for view in range(views)]))


def count_training(config: Config, workspace: Workspace, classes: list[str]) -> Array:
    """(num_classes,): training rows of each class, of all regions, so that every report has the same buckets."""
    return count_classes(iter_rows(workspace.splits_path(config)), classes, split="train", region=None)
