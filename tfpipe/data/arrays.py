"""Rows of float32 numbers on disk, for what is too large to hold and too slow to make twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import explain

Array = np.ndarray


@dataclass(frozen=True)
class RowFile:
    """A file of rows of equal length, written batch by batch; what is there survives an interruption."""

    path: Path
    columns: int

    def __len__(self) -> int:
        """Whole rows that are there."""
        return self.path.stat().st_size // self._row_bytes if self.path.is_file() else 0

    def extend(self, batches: Iterable[Array], *, first: int) -> None:
        """Write batches (batch, columns) behind the first `first` rows; what stood there goes.

        Raises:
            EnvironmentProblemError: when the disk is full or refuses.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("ab") as file:
                file.truncate(first * self._row_bytes)
                for batch in batches:
                    file.write(batch.astype("<f4").tobytes())
        except OSError as error:
            raise EnvironmentProblemError(f"writing {self.path}: {explain(error)}") from error

    def read(self) -> Array:
        """(rows, columns), read from the disk as it is looked at."""
        return np.memmap(self.path, "<f4", mode="r", shape=(len(self), self.columns))

    @property
    def _row_bytes(self) -> int:
        return 4 * self.columns
