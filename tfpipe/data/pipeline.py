"""Input pipelines: records → batches, in an order that follows from TensorFlow's global seed and (seed, epoch)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import tensorflow as tf

from tfpipe.core.cluster import ALONE, Worker
from tfpipe.core.inputs import ModelInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.lengths import by_length
from tfpipe.data.mixing import mix_neighbours
from tfpipe.data.partners import Example, Views
from tfpipe.data.records import Records
from tfpipe.data.seen import build_finish, build_view
from tfpipe.data.shuffling import shuffled
from tfpipe.data.views import view_seed

SHUFFLE_BYTES = 2**30
"""Of undecoded examples held. Records are shuffled as they are written; this shuffles each epoch anew."""

COPIES_APART = 10**6
"""View numbers between the copies of an example in one epoch: more than a run has epochs."""

F = TypeVar("F", bound=Callable[..., tf.data.Dataset])

Targets = dict[str, Any]
"""What a batch for distillation holds beside its images: tensors, and under `teacher_inputs` a tuple of them."""


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


def _as_it_stands(function: F) -> F:
    """Without AutoGraph: no `if` here asks a tensor, and to translate it all takes seconds of every process."""
    kept: F = tf.autograph.experimental.do_not_convert(function)
    return kept


@_as_it_stands
def training_batches(
    records: Records,
    model_input: ModelInput,
    epochs: Epochs,
    *,
    augmentation: Augmentation,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    random_erasing: float = 0.0,
) -> tf.data.Dataset:
    """Batches of (inputs (batch, …), targets (batch, num_classes)), epoch after epoch."""
    examples = _in_epochs(lambda epoch: records.examples(), records, epochs)
    make_view = build_view(augmentation, model_input, epochs.seed, random_erasing=random_erasing)
    finish, task, num_classes = build_finish(model_input), records.task, len(records.classes)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        view = make_view(example[task], example["id"], example["view"])
        return view, tf.one_hot(example["label"], num_classes)

    def mixed(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.cast(step, tf.int32), epochs.seed])
        return mix_neighbours(batch, seed, mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)

    if not (mixup_alpha or cutmix_alpha):
        ds = _batched(_of_worker(examples, epochs).map(decode, tf.data.AUTOTUNE), epochs.worker_batch_size)
        return _ready(ds.map(lambda views, targets: (finish(views), targets), tf.data.AUTOTUNE))
    ds = _batched(examples.map(decode, tf.data.AUTOTUNE), epochs.batch_size)
    ds = ds.enumerate(epochs.steps_before(records.num_examples)).map(mixed, tf.data.AUTOTUNE)
    # Neighbours may be another worker's: each makes the whole batch, and keeps its part.
    return _ready(ds.map(lambda *batch: tf.nest.map_structure(epochs.part_of_worker, batch)))


@dataclass(frozen=True)
class StoredLabels:
    """Soft labels that teachers wrote of some views, or of the plain photos."""

    of_view: Callable[[tf.Tensor], tf.data.Dataset]
    """View number → `soft_labels` (teachers,) string and `teacher_weights` (teachers,), in the canonical order."""
    decode: Callable[[tf.Tensor], Targets]
    """`soft_labels` (batch, teachers) → what the loss reads."""
    views: int | Literal["unaugmented"]
    inputs: tuple[ModelInput, ...] = ()
    """Of teachers that are to see the batch: none."""

    def view(self, number: tf.Tensor) -> tf.Tensor:
        """The view of an epoch, or of an example's copy in it: a labelled one, or a fresh one of a labelled photo."""
        return number if self.views == "unaugmented" else number % COPIES_APART % self.views

    def stream(self, view: tf.Tensor) -> tf.data.Dataset:
        """What stands beside the examples, undecoded."""
        return self.of_view(tf.zeros_like(view) if self.views == "unaugmented" else view)

    def targets(self, batch: Targets, inputs: tuple[tf.Tensor, ...]) -> Targets:
        """What the loss reads; decoded by batches, since that is vectorised."""
        return self.decode(batch["soft_labels"]) | {"teacher_weights": batch["teacher_weights"]}


@dataclass(frozen=True)
class LiveLabels:
    """Soft labels that teachers in memory give to each batch, of another view in every epoch."""

    inputs: tuple[ModelInput, ...]
    """What each teacher wants to see."""
    weights: tf.Tensor
    """(num_examples, teachers) float32 in canonical order; a tensor, which pipelines share instead of copying."""

    def view(self, number: tf.Tensor) -> tf.Tensor:
        """Each is another."""
        return number

    def stream(self, view: tf.Tensor) -> tf.data.Dataset:
        """What stands beside the examples."""
        return tf.data.Dataset.from_tensor_slices({"teacher_weights": self.weights})

    def targets(self, batch: Targets, inputs: tuple[tf.Tensor, ...]) -> Targets:
        """What the teachers are to see, and how much each says."""
        return {"teacher_weights": batch["teacher_weights"], "teacher_inputs": inputs}


@_as_it_stands
def distillation_batches(
    records: Records,
    model_input: ModelInput,
    epochs: Epochs,
    labels: StoredLabels | LiveLabels,
    *,
    augmentation: Augmentation,
    view_seed: int,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tf.data.Dataset:
    """Batches of (images, targets | soft labels), whose pixels are those that the teachers label.

    With stored labels epoch e shows view e mod `labels.views`, and an example that sampling lets come twice in an
    epoch is the same view both times: its labels are of that one.
    """
    views = Views(augmentation, view_seed, mixup_alpha, cutmix_alpha)
    # The student's own comes first; what several want is made once.
    inputs = list(dict.fromkeys((model_input, *labels.inputs)))
    makers = [views.build(wanted, records) for wanted in inputs]
    finishers = [build_finish(wanted) for wanted in inputs]

    def labelled(epoch: tf.Tensor) -> tf.data.Dataset:
        view = labels.view(epoch)
        pairs = tf.data.Dataset.zip(views.examples(records, view), labels.stream(view))
        return pairs.map(lambda example, soft: example | {"soft": soft})

    def decode(example: Example) -> tuple[tuple[tf.Tensor, ...], tf.Tensor, Targets]:
        view = labels.view(example["view"])
        images, targets = zip(*(make(example, view) for make in makers), strict=True)
        return images, targets[0], example["soft"]

    def finish(views: tuple[tf.Tensor, ...], targets: tf.Tensor, soft: Targets) -> tuple[tf.Tensor, Targets]:
        ready = [finish_one(view) for finish_one, view in zip(finishers, views, strict=True)]
        of_teachers = tuple(ready[inputs.index(wanted)] for wanted in labels.inputs)
        return ready[0], labels.targets(soft, of_teachers) | {"targets": targets}

    examples = _in_epochs(labelled, records, epochs, photos_each=2 if views.are_mixed else 1)
    ds = _batched(_of_worker(examples, epochs).map(decode, tf.data.AUTOTUNE), epochs.worker_batch_size)
    return _ready(ds.map(finish, tf.data.AUTOTUNE))


@_as_it_stands
def view_batches(
    records: Records,
    model_input: ModelInput,
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
    """Batches of (ids (batch,), inputs (batch, …)): one view of examples in canonical order.

    Args:
        records: all that may be partners.
        model_input: what the teacher wants.
        augmentation: of the view, as `view`, `view_seed` and the alphas.
        view: its number.
        view_seed: of all views.
        batch_size: of all batches but the last.
        mixup_alpha: 0: no MixUp.
        cutmix_alpha: 0: no CutMix.
        first: where the stretch begins; what stands before is passed over, undecoded.
        count: its length; None: to the end.
        keep: bool, for each example of the stretch; the others are left out, undecoded.
    """
    views = Views(augmentation, view_seed, mixup_alpha, cutmix_alpha)
    make, finish = views.build(model_input, records), build_finish(model_input)
    number = tf.constant(view, tf.int64)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        return example["id"], make(example, number)[0]

    ds = views.examples(records, number, first=first)
    if count is not None:
        ds = ds.take(count)
    if keep is not None:
        kept = tf.data.Dataset.zip(ds, tf.data.Dataset.from_tensor_slices(keep)).filter(lambda _, keep: keep)
        ds = kept.map(lambda example, _: example)
    ds = ds.map(decode, tf.data.AUTOTUNE).batch(batch_size)
    return _ready(ds.map(lambda ids, views: (ids, finish(views)), tf.data.AUTOTUNE))


@_as_it_stands
def evaluation_batches(
    records: Records, model_input: ModelInput, *, batch_size: int, first: int = 0
) -> tf.data.Dataset:
    """Batches of (inputs, targets (batch, num_classes)): every example once, unaugmented, in canonical order.

    What stands before `first` is passed over, undecoded.
    """
    make_view = build_view("none", model_input, 0)
    finish, task, num_classes = build_finish(model_input), records.task, len(records.classes)

    def decode(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        view = make_view(example[task], example["id"], tf.constant(0, tf.int64))
        return view, tf.one_hot(example["label"], num_classes)

    ds = records.examples(first).map(decode, tf.data.AUTOTUNE).batch(batch_size)
    return _ready(ds.map(lambda views, targets: (finish(views), targets), tf.data.AUTOTUNE))


def _in_epochs(
    examples_of: Callable[[tf.Tensor], tf.data.Dataset], records: Records, epochs: Epochs, *, photos_each: int = 1
) -> tf.data.Dataset:
    """Examples in a fresh seeded order each epoch, with the number of their `view`; whole batches only."""
    whole = epochs.steps_per_epoch(records.num_examples) * epochs.batch_size
    done = epochs.first_step * epochs.batch_size
    buffer = min(records.num_examples, SHUFFLE_BYTES // (photos_each * records.bytes_per_example))

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = epochs.seed * 1_000_003 + epoch
        ds = _sampled(examples_of(epoch), epoch, epochs)
        ds = shuffled(ds, buffer, seed)
        if epochs.sampling_weights is not None:
            # What was drawn may be a little less than an epoch; then its first ones come once more.
            ds = ds.repeat()
        ds = ds.take(whole)
        if records.task == "text":
            ds = by_length(ds, epochs.batch_size, seed)
        return ds.skip(tf.where(epoch == epochs.first_epoch, tf.constant(done, tf.int64), 0))

    return tf.data.Dataset.range(epochs.first_epoch, epochs.epochs).flat_map(one)


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
        return tf.data.Dataset.range(count).map(lambda copy: example | {"view": epoch + COPIES_APART * copy})

    return ds.flat_map(copies)


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
