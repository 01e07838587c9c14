"""The soft-label store: what teachers said of every training view, sparse, on disk.

A view's record is k class ids (uint16), k logits (float16), and the logarithms
of the sums over all other classes of exp(logit) and of exp(logit / temperature)
(float32): 4 k + 8 bytes. Records stand in the canonical order of the examples,
one file per teacher and view, so that they are read as a stream beside them.
With k = number of classes nothing is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.errors import MismatchError, MissingArtifactError
from tfpipe.core.files import atomic_open, read_json, write_json

NOTHING = -np.inf
"""Logarithm of the mass of no class at all."""

Array = np.ndarray


@dataclass(frozen=True)
class LabelHeader:
    """What labels were made with; they serve nothing else."""

    teachers: tuple[str, ...]
    teacher_weights: tuple[float, ...]
    region_filters: tuple[str | None, ...]
    teacher_sha256s: tuple[str, ...]
    """Hashes of the teachers' weights."""
    preprocessing_sha256: str
    """Hash of the augmentation and of what each teacher wants to see."""
    classes_sha256: str
    examples_sha256: str
    """Hash of the example ids in their order."""
    view_seed: int
    views: int
    top_k: int
    num_classes: int
    num_examples: int
    temperature: float

    @property
    def kept(self) -> int:
        """Classes kept per view."""
        return min(self.top_k, self.num_classes)


def sparsify(logits: Array, top_k: int, temperature: float) -> Array:
    """Dense logits as store records.

    Args:
        logits: (batch, num_classes), finite.
        top_k: at most num_classes.
        temperature: of the distillation.

    Returns:
        (batch,) of `record_type(top_k)`, classes by falling logit.
    """
    order = np.argsort(-logits, axis=-1, kind="stable")
    best, others = order[:, :top_k], order[:, top_k:]
    records = np.zeros(len(logits), record_type(top_k))
    records["ids"] = best
    records["logits"] = np.take_along_axis(logits, best, axis=-1)
    rest = np.take_along_axis(logits, others, axis=-1)
    records["log_rest"] = log_sum_exp(rest)
    records["log_rest_softened"] = log_sum_exp(rest / temperature)
    return records


def record_type(top_k: int) -> np.dtype:
    """One view's record on disk, little-endian."""
    return np.dtype(
        [
            ("ids", "<u2", (top_k,)),
            ("logits", "<f2", (top_k,)),
            ("log_rest", "<f4"),
            ("log_rest_softened", "<f4"),
        ]
    )


def log_sum_exp(values: Array) -> Array:
    """(batch, n) → (batch,), `NOTHING` where n is 0."""
    if values.shape[-1] == 0:
        return np.full(len(values), NOTHING)
    highest = values.max(axis=-1, keepdims=True)
    sums: Array = highest[:, 0] + np.log(np.exp(values - highest).sum(axis=-1))
    return sums


def view_path(store: Path, teacher: int, view: int) -> Path:
    """The file of one teacher's records of one view."""
    return store / f"teacher{teacher}" / f"view{view:03d}.bin"


def write_view(records: Iterable[Array], store: Path, *, teacher: int, view: int) -> None:
    """Write one file, whole or not at all."""
    with atomic_open(view_path(store, teacher, view), "wb") as file:
        for batch in records:
            file.write(batch.tobytes())


def spread(batches: Iterable[Array], places: Array, num_examples: int, top_k: int) -> Iterator[Array]:
    """Records of some examples → records of all, zeros where a teacher has no say.

    Args:
        batches: records, together one for each of `places`.
        places: rising positions among all examples.
        num_examples: how many there are.
        top_k: of the records.
    """
    read = written = 0
    for batch in batches:
        here = places[read : read + len(batch)]
        block = np.zeros(here[-1] + 1 - written, record_type(top_k))
        block[here - written] = batch
        read += len(batch)
        written += len(block)
        yield block
    yield np.zeros(num_examples - written, record_type(top_k))


def write_header(header: LabelHeader, teacher_weights: Array, store: Path) -> None:
    """Close a store: the header, and each example's weight for each teacher.

    Args:
        header: what the labels were made with.
        teacher_weights: (num_examples, teachers) float32, rows sum to 1.
        store: its folder.
    """
    with atomic_open(store / "weights.bin", "wb") as file:
        file.write(teacher_weights.astype("<f4").tobytes())
    write_json(asdict(header), store / "header.json")


def read_header(store: Path) -> LabelHeader:
    """The header of a closed store.

    Raises:
        MissingArtifactError: when there is none, or a file was cut off.
    """
    if not (store / "header.json").is_file():
        raise MissingArtifactError(f"{store}: no soft labels. `tfpipe label` writes them.")
    document = read_json(store / "header.json")
    lists = ("teachers", "teacher_weights", "region_filters", "teacher_sha256s")
    header = LabelHeader(**document | {name: tuple(document[name]) for name in lists})
    for path, expected in _file_sizes(store, header).items():
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise MissingArtifactError(
                f"{path}: {found} bytes, expected {expected}. Run `tfpipe label --force` to write it anew."
            )
    return header


def _file_sizes(store: Path, header: LabelHeader) -> dict[Path, int]:
    num_teachers = len(header.teachers)
    per_view = header.num_examples * record_type(header.kept).itemsize
    views = [(teacher, view) for teacher in range(num_teachers) for view in range(header.views)]
    sizes = {view_path(store, teacher, view): per_view for teacher, view in views}
    return sizes | {store / "weights.bin": header.num_examples * num_teachers * 4}


def check_header(header: LabelHeader, expected: dict[str, object], store: Path) -> None:
    """Refuse labels that were made with something else.

    Args:
        header: of the store.
        expected: fields of it and the values they must have.
        store: its folder.

    Raises:
        MismatchError: naming all that differs.
    """
    found = asdict(header)
    differing = [f"{name} {found[name]}, wanted {value}" for name, value in expected.items() if found[name] != value]
    if differing:
        raise MismatchError(f"{store}: labels made with {'; '.join(differing)}. Run `tfpipe label` again.")


def combine_weights(regions: Array, weights: tuple[float, ...], region_filters: tuple[str | None, ...]) -> Array:
    """Each teacher's share of the say over each example.

    Args:
        regions: (num_examples,) of str.
        weights: one per teacher.
        region_filters: None where a teacher speaks for all regions.

    Returns:
        (num_examples, teachers) float32; rows sum to 1.

    Raises:
        MismatchError: when no teacher speaks for some region.
    """
    speaks = np.stack([np.ones(len(regions), bool) if r is None else regions == r for r in region_filters], axis=1)
    shares = speaks * np.asarray(weights, np.float32)
    totals = shares.sum(axis=1, keepdims=True)
    if not totals.all():
        mute = sorted(set(regions[totals[:, 0] == 0]))
        raise MismatchError(f"no teacher speaks for region {', '.join(mute)}: add one without `region_filter`.")
    return (shares / totals).astype(np.float32)


def labels_of_view(store: Path, header: LabelHeader, view: tf.Tensor) -> tf.data.Dataset:
    """Soft labels of one view as a stream in canonical order, undecoded; `view` may be a tensor.

    Elements: soft_labels (teachers,) string, teacher_weights (teachers,) float32.
    """
    item = record_type(header.kept).itemsize
    count = len(header.teachers)
    paths = tf.constant([[str(view_path(store, t, v)) for v in range(header.views)] for t in range(count)])
    streams = [tf.data.FixedLengthRecordDataset(paths[teacher, view], item) for teacher in range(count)]
    weights = tf.data.FixedLengthRecordDataset(str(store / "weights.bin"), 4 * count)

    def together(records: tuple[tf.Tensor, ...], shares: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = tf.ensure_shape(tf.io.decode_raw(shares, tf.float32), (count,))
        return {"soft_labels": tf.stack(records), "teacher_weights": weights}

    return tf.data.Dataset.zip(datasets=(tuple(streams), weights)).map(together)


def decode(soft_labels: tf.Tensor, header: LabelHeader) -> dict[str, tf.Tensor]:
    """(batch, teachers) string → teacher_ids, teacher_logits (batch, teachers, k), teacher_log_rest (batch, teachers).

    The last at the store's temperature.
    """
    kept, shape = header.kept, soft_labels.shape
    ids = tf.io.decode_raw(tf.strings.substr(soft_labels, 0, 2 * kept), tf.uint16)
    logits = tf.io.decode_raw(tf.strings.substr(soft_labels, 2 * kept, 2 * kept), tf.float16)
    log_rest = tf.io.decode_raw(tf.strings.substr(soft_labels, 4 * kept + 4, 4), tf.float32)
    return {
        "teacher_ids": tf.ensure_shape(tf.cast(ids, tf.int32), (*shape, kept)),
        "teacher_logits": tf.ensure_shape(tf.cast(logits, tf.float32), (*shape, kept)),
        "teacher_log_rest": tf.ensure_shape(log_rest[..., 0], shape),
    }
