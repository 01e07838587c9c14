"""The splits of texts as CSV files, as the plan's scripts read them: `train.csv`, `val.csv`, `test.csv`."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tfpipe.core.files import atomic_open
from tfpipe.core.settings import RowField
from tfpipe.data.rows import iter_rows

FILES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}


def write_split_tables(
    rows_path: Path, folder: Path, *, classes: Sequence[str], fields: Mapping[RowField, str]
) -> None:
    """A file a split: the texts, their labels and the labels' ids.

    Args:
        rows_path: as the step `split` writes them.
        folder: for the files.
        classes: in the order of their ids.
        fields: row field → the source's own name, which is the column's too.
    """
    text, label = fields.get("text", "text"), fields.get("label", "label")
    head = (text, label, "label_id" if label == "label" else "label")
    number_of = {name: number for number, name in enumerate(classes)}
    with ExitStack() as stack:
        files = {split: stack.enter_context(atomic_open(folder / name)) for split, name in FILES.items()}
        writers = {split: csv.writer(file, lineterminator="\n") for split, file in files.items()}
        for writer in writers.values():
            writer.writerow(head)
        for row in iter_rows(rows_path):
            writers[row.split].writerow((row.text, row.label, number_of[row.label]))
