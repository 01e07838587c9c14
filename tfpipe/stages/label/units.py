"""Units of labelling: one file each, of a teacher, a view and a shard, made in any order, anywhere."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.progress import Advance
from tfpipe.data.pipeline import view_batches
from tfpipe.data.records import Records
from tfpipe.labels.npz import NpzLabels
from tfpipe.labels.sparse import Sparse, silence, sparsify, to_records
from tfpipe.labels.store import adopt_shard, is_whole, shard_path, spread, write_shard
from tfpipe.stages.label.teachers import BATCH, Facts, Teacher, batch_spec
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray
ToSparse = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]
"""Inputs or logits → the tensors of `Sparse`."""


@dataclass(frozen=True)
class Unit:
    """One file of labels, to be written by any process that sees the disk."""

    path: Path
    previous: Path | None
    """The same file in another store, which may be there."""
    teacher: Teacher
    records: Records
    view: int
    first: int
    """Place of the shard's first example among all."""
    ids: Array
    """(examples of the shard,) of str."""
    keep: Array
    """(examples of the shard,) of bool: those that the teacher speaks for."""
    deterministic: bool

    @property
    def is_done(self) -> bool:
        """Whether the file is there."""
        return is_whole(self.path, len(self.keep), self.teacher.header.kept)

    @property
    def is_adoptable(self) -> bool:
        """Whether the file is in another store."""
        return self.previous is not None and is_whole(self.previous, len(self.keep), self.teacher.header.kept)


def list_units(
    teacher: Teacher, folder: Path, previous: Path | None, records: Records, facts: Facts, *, deterministic: bool
) -> list[Unit]:
    """All units of one teacher, view by view.

    Args:
        teacher: with its temperature.
        folder: its folder in the store.
        previous: a folder with labels of this very teacher.
        records: fresh, so that they can be sent to another machine.
        facts: of them.
        deterministic: see `make_reproducible`.
    """
    speaks, lengths = teacher.speaks(facts), facts.shard_lengths
    firsts = np.cumsum([0, *lengths])

    def unit(view: int, shard: int) -> Unit:
        stretch = slice(firsts[shard], firsts[shard + 1])
        paths = [shard_path(place, view, shard, len(lengths)) if place else None for place in (folder, previous)]
        assert paths[0]
        return Unit(
            paths[0], paths[1], teacher, records, view, int(firsts[shard]),
            facts.ids[stretch], speaks[stretch], deterministic,
        )  # fmt: skip

    return [unit(view, shard) for view in range(teacher.header.views) for shard in range(len(lengths))]


def label_unit(unit: Unit, advance: Advance = lambda *_: None) -> None:
    """Write the file, unless it is there; from another store, if that has it.

    Raises:
        DataError: naming an example that the teacher had no numbers for.
        EnvironmentProblemError: when the disk is full or refuses.
    """
    if unit.is_done:
        advance(int(unit.keep.sum()))
    elif unit.is_adoptable:
        assert unit.previous
        adopt_shard(unit.previous, unit.path)
        advance(int(unit.keep.sum()))
    else:
        header = unit.teacher.header
        answers = _noted(iter_answers(unit), advance) if unit.keep.any() else iter(())
        write_shard(spread(answers, unit.keep, silence(header.kept, header.num_classes)), unit.path)


def label_elsewhere(unit: Unit) -> None:
    """`label_unit` in a process that knows nothing of the settings."""
    make_reproducible(unit.teacher.header.view_seed, deterministic=unit.deterministic)
    label_unit(unit)


def iter_answers(unit: Unit) -> Iterator[Array]:
    """Records of the examples that the teacher speaks for, batch by batch."""
    to_sparse = _to_sparse(unit.teacher)
    for ids, batch in iter_batches(unit):
        yield to_records(Sparse(*(tensor.numpy() for tensor in to_sparse(batch))), ids, unit.teacher.name)


def iter_batches(unit: Unit) -> Iterator[tuple[Array, Array]]:
    """Ids and inputs, or ids and logits where they come from a file, of the examples that the teacher speaks for."""
    teacher, header = unit.teacher, unit.teacher.header
    if teacher.model_input is None:
        yield from NpzLabels(teacher.path).iter_logits(unit.ids[unit.keep], BATCH)
        return
    yield from view_batches(
        unit.records,
        teacher.model_input,
        augmentation=header.augmentation,  # type: ignore[arg-type]
        view=unit.view,
        view_seed=header.view_seed,
        batch_size=BATCH,
        mixup_alpha=header.mixup_alpha,
        cutmix_alpha=header.cutmix_alpha,
        first=unit.first,
        count=len(unit.keep),
        keep=unit.keep,
    )


def forget_networks() -> None:
    """Free the memory of the last teacher."""
    _to_sparse.cache_clear()


def only(unit: Unit, places: Sequence[int]) -> Unit:
    """The unit with a few of its examples alone, by their places in the shard."""
    keep = np.full(len(unit.keep), False)
    keep[list(places)] = True
    return replace(unit, keep=keep)


def _noted(batches: Iterator[Array], advance: Advance) -> Iterator[Array]:
    for batch in batches:
        yield batch
        advance(len(batch))


@lru_cache(maxsize=1)
def _to_sparse(teacher: Teacher) -> ToSparse:
    """A graph from inputs, or logits, to records: one pass over the classes, where the logits are."""
    header, model_input = teacher.header, teacher.model_input
    predict = teacher.load() if model_input else lambda logits: logits / header.calibration_temperature
    spec = batch_spec(model_input) if model_input else tf.TensorSpec((None, header.num_classes), tf.float32)

    @tf.function(input_signature=[spec], autograph=False)
    def to_sparse(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return sparsify(predict(batch), header.kept, header.temperature).tensors()

    return to_sparse
