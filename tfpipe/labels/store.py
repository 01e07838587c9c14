"""The soft-label store: what teachers said of every training view, on disk.

    store/header.json                              what the labels were made with, and the teachers' weights
    store/weights.bin                              each example's weight for each teacher (float32)
    store/<teacher>/header.json                    what one teacher's labels were made with
    store/<teacher>/view000/00003-of-00016.bin     its records (`labels/sparse.py`) of one view of one shard

Records stand in the canonical order of the examples, in as many files as the examples' own, so that they are read
as a stream beside them, and written by (teacher, view, shard) in any order, by any number of processes. A teacher's
folder knows nothing of the other teachers: with other weights, beside others, or for another student, it serves again.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.errors import EnvironmentProblemError, MismatchError, MissingArtifactError
from tfpipe.core.files import atomic_open, atomic_path, read_json, write_json
from tfpipe.labels.header import LabelHeader, TeacherHeader, read_teacher_header
from tfpipe.labels.sparse import SMALLEST, record_type

Array = np.ndarray

BLOCK = 256
"""Records that the stream reads and stacks at a time."""


def shard_path(folder: Path, view: int, shard: int, num_shards: int) -> Path:
    """The file of one view of one shard, in a teacher's folder."""
    return folder / f"view{view:03d}" / f"{shard:05d}-of-{num_shards:05d}.bin"


def shard_paths(folder: Path, header: TeacherHeader) -> list[Path]:
    """All files of a teacher, view by view."""
    count = len(header.shard_lengths)
    return [shard_path(folder, view, shard, count) for view in range(header.views) for shard in range(count)]


def is_whole(path: Path, length: int, kept: int) -> bool:
    """Whether a file is there and has so many records."""
    return path.is_file() and path.stat().st_size == length * record_type(kept).itemsize


def write_shard(records: Iterable[Array], path: Path) -> None:
    """Write one file, whole or not at all.

    Raises:
        EnvironmentProblemError: when the disk is full or refuses.
    """
    try:
        with atomic_open(path, "wb") as file:
            for batch in records:
                file.write(batch.tobytes())
    except EnvironmentProblemError:
        # Another process that did the same was faster, and has closed the store and tidied up.
        if not path.is_file():
            raise


def adopt_shard(previous: Path, path: Path) -> None:
    """Let a file of another store stand in this one too."""
    with atomic_path(path) as sibling:
        try:
            os.link(previous, sibling)
        except OSError:
            # Some shared disks have no hard links.
            shutil.copyfile(previous, sibling)


def spread(batches: Iterable[Array], keep: Array, silent: Array) -> Iterator[Array]:
    """Records of some examples → records of all.

    Args:
        batches: records, together one for each True of `keep`.
        keep: (num_examples,) of bool.
        silent: (1,), the record where a teacher has no say.
    """
    places = np.flatnonzero(keep)
    read = written = 0
    for batch in batches:
        here = places[read : read + len(batch)]
        block = np.repeat(silent, here[-1] + 1 - written)
        block[here - written] = batch
        read += len(batch)
        written += len(block)
        yield block
    for begin in range(written, len(keep), BLOCK):
        yield np.repeat(silent, min(BLOCK, len(keep) - begin))


def close_store(header: LabelHeader, teacher_weights: Array, store: Path) -> None:
    """Write what makes a store of teachers' folders, and remove what killed runs left in them.

    Args:
        header: what the labels were made with.
        teacher_weights: (num_examples, teachers) float32, rows sum to 1.
        store: its folder.
    """
    for path in store.rglob(".*"):
        path.unlink(missing_ok=True)
    for name, teacher in zip(header.names, header.teachers, strict=True):
        write_json(asdict(teacher), store / name / "header.json")
    with atomic_open(store / "weights.bin", "wb") as file:
        file.write(teacher_weights.astype("<f4").tobytes())
    write_json(header.to_json(), store / "header.json")


def read_header(store: Path) -> LabelHeader:
    """The header of a closed store, all of whose files are there.

    Raises:
        MissingArtifactError: when there is no store, or a file is missing or was cut off.
        MismatchError: when a teacher's folder is of another store.
    """
    if not (store / "header.json").is_file():
        raise MissingArtifactError(f"{store}: no soft labels. `tfpipe label` writes them.")
    try:
        header = LabelHeader.from_json(read_json(store / "header.json"))
    except (TypeError, KeyError, ValueError):
        raise MismatchError(f"{store}: a store of another version of tfpipe. Run `tfpipe label` again.") from None
    for name, teacher in zip(header.names, header.teachers, strict=True):
        if read_teacher_header(store / name) != teacher:
            raise MismatchError(f"{store / name}: not the labels that {store / 'header.json'} tells of. {ANEW}")
    for path, expected in _file_sizes(store, header).items():
        if not path.is_file():
            raise MissingArtifactError(f"{path} is missing. {ANEW}")
        if (found := path.stat().st_size) != expected:
            raise MissingArtifactError(f"{path}: {found} bytes, expected {expected}: it was cut off. {ANEW}")
    return header


def labels_of_view(store: Path, header: LabelHeader, view: tf.Tensor | int, first: int = 0) -> tf.data.Dataset:
    """Soft labels of one view as a stream in canonical order, as they lie on the disk; `decode` reads them.

    Elements: `soft_labels` (teachers,) string, a record of each; `teacher_weights` (teachers,) float32.

    Args:
        store: the folder of a closed store.
        header: of it.
        view: below `header.views`; may be a tensor.
        first: examples that are passed over, unread.
    """
    item = record_type(header.kept).itemsize
    num_shards = len(header.shard_lengths)
    ends = np.cumsum(header.shard_lengths)
    shard = min(int(np.searchsorted(ends, first, side="right")), num_shards - 1)
    offset = (first - (int(ends[shard]) - header.shard_lengths[shard])) * item
    paths = tf.constant(
        [
            [[str(shard_path(store / name, v, s, num_shards)) for s in range(num_shards)] for v in range(header.views)]
            for name in header.names
        ]
    )

    def stream(teacher: int) -> tf.data.Dataset:
        files = paths[teacher, view]
        begun = tf.data.FixedLengthRecordDataset(files[shard], item, header_bytes=offset)
        if shard + 1 < num_shards:
            begun = begun.concatenate(tf.data.FixedLengthRecordDataset(files[shard + 1 :], item))
        return begun.batch(BLOCK)

    streams = tuple(stream(teacher) for teacher in range(header.num_teachers))
    weight_bytes = 4 * header.num_teachers
    weights = tf.data.FixedLengthRecordDataset(str(store / "weights.bin"), weight_bytes, first * weight_bytes)

    def stack(records: tuple[tf.Tensor, ...], shares: tf.Tensor) -> dict[str, tf.Tensor]:
        decoded = tf.io.decode_raw(shares, tf.float32)
        return {
            "soft_labels": tf.stack(records, axis=1),
            "teacher_weights": tf.ensure_shape(decoded, (None, header.num_teachers)),
        }

    # In blocks: a function called for every example would take longer than all the rest.
    return tf.data.Dataset.zip(datasets=(streams, weights.batch(BLOCK))).map(stack).unbatch()


def decode(soft_labels: tf.Tensor, header: LabelHeader, temperature: float) -> dict[str, tf.Tensor]:
    """A batch of records → the numbers in them.

    Args:
        soft_labels: (batch, teachers) string.
        header: of their store.
        temperature: at which the mass of the rest is wanted.

    Returns:
        teacher_ids (batch, teachers, k) int32, distinct in a row; teacher_logits (batch, teachers, k) float32, divided
        by the teacher's calibration temperature; teacher_log_rest (batch, teachers) float32, the logarithm of the sum
        of exp(logit / temperature) over all other classes. For none at all, `SMALLEST`.

    Raises:
        MismatchError: when the rest's mass at that temperature is not in the store.
    """
    kept, teachers = header.kept, header.num_teachers
    place = 2 * kept + 2 * _which_rest(header, temperature)
    numbers = tf.io.decode_raw(soft_labels, tf.uint16, fixed_length=record_type(kept).itemsize)
    numbers = tf.ensure_shape(numbers, (None, teachers, 2 * kept + 4))
    logits = tf.cast(tf.bitcast(numbers[..., kept : 2 * kept], tf.float16), tf.float32)
    log_rest = tf.bitcast(numbers[..., place : place + 2], tf.float32)
    return {
        "teacher_ids": tf.cast(numbers[..., :kept], tf.int32),
        "teacher_logits": tf.maximum(logits, SMALLEST),
        "teacher_log_rest": tf.maximum(log_rest, SMALLEST),
    }


def iter_shards(store: Path, header: LabelHeader, view: int) -> Iterator[tuple[slice, list[Array]]]:
    """Records of all teachers of a view, from the disk as they are looked at, with their places; in pieces."""
    item, first = record_type(header.kept), 0
    for shard, length in enumerate(header.shard_lengths):
        paths = [shard_path(store / name, view, shard, len(header.shard_lengths)) for name in header.names]
        for begin in range(0, length, BLOCK):
            count = min(BLOCK, length - begin)
            pieces = [np.fromfile(path, item, count, offset=begin * item.itemsize) for path in paths]
            yield slice(first + begin, first + begin + count), pieces
        first += length


def read_weights(store: Path, header: LabelHeader) -> Array:
    """(num_examples, teachers) float32."""
    return np.fromfile(store / "weights.bin", "<f4").reshape(-1, header.num_teachers)


def _which_rest(header: LabelHeader, temperature: float) -> int:
    """The place of the rest's mass among the two."""
    if temperature == header.temperature or header.kept == header.num_classes:
        return 1
    if temperature == 1:
        return 0
    raise MismatchError(
        f"labels know the mass of the classes left out at temperature 1 and {header.temperature:g}, and "
        f"{temperature:g} is wanted. Set distillation.temperature, and run `tfpipe label` again."
    )


def _file_sizes(store: Path, header: LabelHeader) -> dict[Path, int]:
    item = record_type(header.kept).itemsize
    sizes = {store / "weights.bin": header.num_examples * header.num_teachers * 4}
    for name, teacher in zip(header.names, header.teachers, strict=True):
        lengths = header.shard_lengths * header.views
        sizes |= {path: length * item for path, length in zip(shard_paths(store / name, teacher), lengths, strict=True)}
    return sizes


ANEW = "Run `tfpipe label --force` to write it anew."
