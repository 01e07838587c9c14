"""`label --to-npz FILE`: the first view's labels as dense arrays, for whoever reads no store."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.progress import say
from tfpipe.core.workspace import Workspace
from tfpipe.labels.header import LabelHeader
from tfpipe.labels.npz import Column, write_npz
from tfpipe.labels.sparse import dense_logits, softened
from tfpipe.labels.store import iter_shards, read_weights
from tfpipe.labels.summary import iter_combined
from tfpipe.stages.label.teachers import gather_facts
from tfpipe.stages.label.work import open_labels
from tfpipe.stages.phases import training_records

Array = np.ndarray


def take(config: Config, workspace: Workspace, path: Path) -> None:
    """Write what all teachers together say, and what each one says of the examples that it speaks for.

    One teacher's labels stand in the same file, several teachers' each in one beside it, with its name. Of classes
    that were left out, each has its even share of what they have together.
    """
    records = training_records(config, workspace)
    store, header = open_labels(config, workspace, records)
    ids, weights = gather_facts(records).ids, read_weights(store, header)
    shape = (header.num_examples, header.num_classes)
    together = {
        "soft_probs": Column(shape, np.dtype("<f4"), iter_combined(store, header, weights)),
        "indices": Column(ids.shape, ids.dtype, [ids]),
    }
    if header.num_teachers == 1:
        together = _columns(store, header, 0, ids, weights) | together
    write_npz(together, path)
    written = [path]
    for number, name in enumerate(header.names if header.num_teachers > 1 else ()):
        written.append(path.with_name(f"{path.stem}-{name}{path.suffix}"))
        write_npz(_columns(store, header, number, ids, weights), written[-1])
    more = f", of {header.views} views the first" if header.views > 1 else ""
    say(f"label {config.name}: {', '.join(map(str, written))}: {header.num_examples} labels{more}")


def _columns(store: Path, header: LabelHeader, teacher: int, ids: Array, weights: Array) -> dict[str, Column]:
    """Of the examples that a teacher speaks for."""
    spoken = weights[:, teacher] > 0
    count = int(spoken.sum())

    def records() -> Iterator[Array]:
        for places, pieces in iter_shards(store, header, 0):
            yield pieces[teacher][spoken[places]]

    num_classes = header.num_classes
    logits = (dense_logits(piece, num_classes) for piece in records())
    confidences = (softened(piece, num_classes, 1.0).max(axis=-1) for piece in records() if len(piece))
    return {
        "logits": Column((count, num_classes), np.dtype("<f4"), logits),
        "indices": Column((count,), ids.dtype, [ids[spoken]]),
        "confidences": Column((count,), np.dtype("<f4"), confidences),
    }
