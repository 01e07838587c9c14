"""The photo server, and a folder to fetch into."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fetch_place import Place
from photo_server import PhotoServer, serving


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with serving() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, server: PhotoServer) -> Place:
    return Place(tmp_path, server)
