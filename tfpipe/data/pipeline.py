"""Input pipelines: records → batches, in an order that follows from TensorFlow's global seed and (seed, epoch)."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfpipe.core.cluster import ALONE, Worker
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.mixing import mix
from tfpipe.data.records import Records
from tfpipe.data.views import build_view, view_seed

SHUFFLE_BYTES = 2**30
"""Of undecoded examples held. Records are shuffled as they are written; this shuffles each epoch anew."""

COPIES_APART = 10**6
"""View numbers between the copies of an example in one epoch: more than a run has epochs."""

Example = dict[str, tf.Tensor]
LabelsOfView = Callable[[tf.Tensor], tf.data.Dataset]
"""View number → soft labels in the records' canonical order."""
DecodeLabels = Callable[[tf.Tensor], dict[str, tf.Tensor]]
"""A batch of their `soft_labels`, (batch, teachers) string → what is in them."""


@dataclass(frozen=True)
class Epochs:
    """How many examples a training run sees, and in what order."""

    batch_size: int
    """At most as many as there are examples."""
    epochs: int
    seed: int
    first_epoch: int = 0
    """Where a resumed run goes on."""
    first_step: int = 0
    """Steps of that epoch that are done."""
    worker: Worker = ALONE
    """Which part of each batch is made here: they stand one after the other, as the workers are numbered."""
    sampling_weights: np.ndarray | None = None
    """(num_classes,): how often an example of a class comes in an epoch, on average; None: once.

    Over the examples they are 1 on average, so that an epoch keeps its size.
    """

    def steps_per_epoch(self, num_examples: int) -> int:
        """Whole batches; the rest of an epoch is left out, another rest each time."""
        return num_examples // self.batch_size

    @property
    def worker_batch_size(self) -> int:
        """Of the part that is made here."""
        return self.batch_size // self.worker.num_workers

    def part_of_worker(self, batch: tf.Tensor) -> tf.Tensor:
        """(batch, …) → (batch / workers, …)."""
        first = self.worker.number * self.worker_batch_size
        return batch[first : first + self.worker_batch_size]

    def steps_before(self, num_examples: int) -> int:
        """That are done when the run begins."""
        return self.first_epoch * self.steps_per_epoch(num_examples) + self.first_step


def training_batches(
    records: Records,
    image_input: ImageInput,
    epochs: Epochs,
    *,
    augmentation: Augmentation,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    random_erasing: float = 0.0,
) -> tf.data.Dataset:
    """Batches of (images (batch, size, size, 3), targets (batch, num_classes)), epoch after epoch."""
    examples = _in_epochs(lambda epoch: records.examples(), records, epochs)
    make_view = build_view(augmentation, image_input, epochs.seed, random_erasing=random_erasing)
    num_classes = len(records.classes)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        image = make_view(example["image"], example["id"], example["view"])
        return image, tf.one_hot(example["label"], num_classes)

    def mixed(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.cast(step, tf.int32), epochs.seed])
        return mix(*batch, seed, mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)

    if not (mixup_alpha or cutmix_alpha):
        return _ready(_batched(_of_worker(examples, epochs).map(decode, tf.data.AUTOTUNE), epochs.worker_batch_size))
    ds = _batched(examples.map(decode, tf.data.AUTOTUNE), epochs.batch_size)
    ds = ds.enumerate(epochs.steps_before(records.num_examples)).map(mixed, tf.data.AUTOTUNE)
    # Neighbours may be another worker's: each makes the whole batch, and keeps its part.
    return _ready(ds.map(lambda *batch: tf.nest.map_structure(epochs.part_of_worker, batch)))


def distillation_batches(
    records: Records,
    image_input: ImageInput,
    epochs: Epochs,
    labels_of_view: LabelsOfView,
    *,
    augmentation: Augmentation,
    views: int,
    view_seed: int,
    decode_labels: DecodeLabels,
) -> tf.data.Dataset:
    """Batches of (images, targets | soft labels): epoch e shows view e mod `views`, as its teachers saw it.

    An example that sampling lets come twice in an epoch is the same view both times: its labels are of that one.
    """

    def labelled(epoch: tf.Tensor) -> tf.data.Dataset:
        pairs = tf.data.Dataset.zip(records.examples(), labels_of_view(epoch % views))
        return pairs.map(lambda example, labels: example | labels)

    examples = _in_epochs(labelled, records, epochs)
    make_view = build_view(augmentation, image_input, view_seed)
    num_classes = len(records.classes)
    ours = {"id", "image", "label", "region", "group", "view"}

    def decode(example: Example) -> tuple[tf.Tensor, Example]:
        view = example["view"] % COPIES_APART % views
        image = make_view(example["image"], example["id"], view)
        soft = {name: value for name, value in example.items() if name not in ours}
        return image, soft | {"targets": tf.one_hot(example["label"], num_classes)}

    def with_labels(images: tf.Tensor, targets: Example) -> tuple[tf.Tensor, Example]:
        others = {name: value for name, value in targets.items() if name != "soft_labels"}
        return images, others | decode_labels(targets["soft_labels"])

    ds = _of_worker(examples, epochs).map(decode, tf.data.AUTOTUNE)
    return _ready(_batched(ds, epochs.worker_batch_size).map(with_labels))


def view_batches(
    records: Records,
    image_input: ImageInput,
    *,
    augmentation: Augmentation,
    view: int,
    view_seed: int,
    batch_size: int,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    first: int = 0,
    count: int | None = None,
    keep: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of (ids, images): one view of `count` examples from `first` on, in canonical order.

    Of them those that `keep`, (count,) of bool, says; the others stay undecoded.
    """
    make_view = build_view(augmentation, image_input, view_seed)
    number = tf.constant(view, tf.int64)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        return example["id"], make_view(example["image"], example["id"], number)

    examples = records.examples().skip(first).take(-1 if count is None else count)
    if keep is not None:
        kept = tf.data.Dataset.from_tensor_slices(keep)
        pairs = tf.data.Dataset.zip(examples, kept).filter(lambda _, wanted: wanted)
        examples = pairs.map(lambda example, _: example)
    return _ready(examples.map(decode, tf.data.AUTOTUNE).batch(batch_size))


def evaluation_batches(
    records: Records, image_input: ImageInput, *, batch_size: int, first: int = 0
) -> tf.data.Dataset:
    """Batches of (images, targets (batch, num_classes)): every example once, unaugmented, in canonical order.

    What stands before `first` is passed over, undecoded.
    """
    make_view = build_view("none", image_input, 0)
    num_classes = len(records.classes)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        image = make_view(example["image"], example["id"], tf.constant(0, tf.int64))
        return image, tf.one_hot(example["label"], num_classes)

    return _ready(records.examples().skip(first).map(decode, tf.data.AUTOTUNE).batch(batch_size))


def _in_epochs(
    examples_of: Callable[[tf.Tensor], tf.data.Dataset], records: Records, epochs: Epochs
) -> tf.data.Dataset:
    """Examples in a fresh seeded order each epoch, with the number of their `view`; whole batches only."""
    whole = epochs.steps_per_epoch(records.num_examples) * epochs.batch_size
    done = epochs.first_step * epochs.batch_size
    buffer = min(records.num_examples, SHUFFLE_BYTES // records.bytes_per_example)

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = epochs.seed * 1_000_003 + epoch
        ds = _sampled(examples_of(epoch), epoch, epochs)
        ds = ds.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        if epochs.sampling_weights is not None:
            # What was drawn may be a little less than an epoch; then its first ones come once more.
            ds = ds.repeat()
        return ds.take(whole).skip(tf.where(epoch == epochs.first_epoch, tf.constant(done, tf.int64), 0))

    # AutoGraph would only stumble over TFDS, which `one` calls into.
    one_as_it_stands = tf.autograph.experimental.do_not_convert(one)
    return tf.data.Dataset.range(epochs.first_epoch, epochs.epochs).flat_map(one_as_it_stands)


def _sampled(ds: tf.data.Dataset, epoch: tf.Tensor, epochs: Epochs) -> tf.data.Dataset:
    """Each example as often as its class's weight says, every copy another `view`.

    Of a weight of 2.3 that is two copies, and with probability 0.3, drawn from (id, epoch, seed), a third.
    """
    if epochs.sampling_weights is None:
        return ds.map(lambda example: example | {"view": epoch})
    weights = tf.constant(epochs.sampling_weights, tf.float32)

    def copies(example: Example) -> tf.data.Dataset:
        # Views are numbered from 0, so that the seeds of negative numbers are free for this.
        draw = tf.random.stateless_uniform((), view_seed(example["id"], -1 - epoch, epochs.seed))
        count = tf.cast(tf.floor(tf.gather(weights, example["label"]) + draw), tf.int64)
        same = tf.data.Dataset.from_tensors(example).repeat(count)
        return tf.data.Dataset.zip(same, tf.data.Dataset.range(count))

    return ds.flat_map(copies).map(lambda example, copy: example | {"view": epoch + COPIES_APART * copy})


def _ready(ds: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetched, on threads of its own, so that the model's do not wait for it."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = os.cpu_count()
    return ds.prefetch(tf.data.AUTOTUNE).with_options(options)


def _of_worker(ds: tf.data.Dataset, epochs: Epochs) -> tf.data.Dataset:
    """Of each batch's examples, still undecoded, those that are this worker's."""
    if epochs.worker.num_workers == 1:
        return ds
    part = epochs.worker_batch_size
    mine = lambda place, _: place % epochs.batch_size // part == epochs.worker.number  # noqa: E731
    return ds.enumerate().filter(mine).map(lambda _, example: example)


def _batched(ds: tf.data.Dataset, size: int) -> tf.data.Dataset:
    return ds.batch(size, drop_remainder=True)
