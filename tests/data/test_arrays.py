"""Rows on disk: what was written whole is there, whatever interrupted the writing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.data.arrays import RowFile

ROWS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    return RowFile(tmp_path / "new" / "rows.f32", 3)


def test_what_is_written_is_read(file: RowFile) -> None:
    assert len(file) == 0
    file.extend([ROWS[:4], ROWS[4:]], first=0)
    assert len(file) == 10
    np.testing.assert_array_equal(file.read(), ROWS)


def test_an_interrupted_writing_goes_on_behind_the_rows_that_are_whole(file: RowFile) -> None:
    def torn() -> Iterator[np.ndarray]:
        yield ROWS[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.extend(torn(), first=0)
    with file.path.open("ab") as raw:
        raw.write(b"half a row"[:7])
    assert len(file) == 4
    file.extend([ROWS[4:]], first=len(file))
    np.testing.assert_array_equal(file.read(), ROWS)


def test_rows_behind_the_first_to_write_go(file: RowFile) -> None:
    file.extend([ROWS], first=0)
    file.extend([ROWS[:2]], first=5)
    np.testing.assert_array_equal(file.read(), np.concatenate([ROWS[:5], ROWS[:2]]))


def test_a_disk_that_refuses_is_told_in_a_sentence(file: RowFile) -> None:
    file.path.parent.mkdir()
    file.path.symlink_to("/dev/full")
    with pytest.raises(EnvironmentProblemError, match=r"rows\.f32"):
        file.extend([ROWS], first=0)
