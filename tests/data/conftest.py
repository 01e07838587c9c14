"""A small set of records, written once for all tests of what reads records."""

from pathlib import Path

import pytest
from meadow import make_rows, write_splits


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of `make_rows` as records, in three shards."""
    from tfpipe.data.records import write_records
    from tfpipe.data.workers import Runner

    directory = tmp_path_factory.mktemp("data") / "meadow" / "1.0.0"
    rows_path = write_splits(make_rows(), tmp_path_factory.mktemp("photos"))
    write_records(rows_path, directory, num_shards=3, title="meadow", runner=Runner())
    return directory
