"""A small set of records, written once for all tests of what reads records."""

from pathlib import Path

import pytest
from meadow import CLASSES, make_rows, photo


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of `make_rows` as records, in three shards."""
    from tfpipe.data.records import write_records

    directory = tmp_path_factory.mktemp("data") / "meadow" / "1.0.0"
    write_records(make_rows(), directory, read_image=lambda row: photo(int(row.id)), classes=CLASSES, num_shards=3)
    return directory
