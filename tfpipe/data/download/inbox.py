"""Bodies between the net and their verdict: on disk as they come, so that a kill loses none that came whole."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import Self
from zlib import crc32

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import explain
from tfpipe.data.download.answers import Answer, Reason

HEAD = Struct("<IQI")
"""Of a tray: where the body begins, its length and its CRC. All zero until the body has come whole."""

EMPTY = bytes(HEAD.size)


class Tray:
    """A file for one body at a time: head, envelope (URL and answer, as JSON), body.

    It is used again and again, since making, renaming and removing a file for each body would cost more than
    all else that is done with it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.num_bytes = 0
        self.is_whole = False
        self._body_at = 0
        self._crc = 0
        with self._told():
            self._file = os.open(path, os.O_RDWR | os.O_CREAT)

    def begin(self, url: str, came: Answer) -> None:
        """Take a new body."""
        envelope = json.dumps([url, vars(came)]).encode()
        self._body_at = HEAD.size + len(envelope)
        self._crc = self.num_bytes = 0
        self._write(EMPTY + envelope, 0)

    def add(self, chunk: bytes) -> None:
        """Some more of the body.

        Raises:
            EnvironmentProblemError: when the disk is full or refuses.
        """
        self._write(chunk, self._body_at + self.num_bytes)
        self._crc = crc32(chunk, self._crc)
        self.num_bytes += len(chunk)

    def finish(self) -> None:
        """It has come whole: from now on it will not be asked for again."""
        self._write(HEAD.pack(self._body_at, self.num_bytes, self._crc), 0)
        self.is_whole = True

    def clear(self) -> None:
        """It is not needed any more."""
        self._write(EMPTY, 0)
        self.is_whole = False

    def read(self) -> tuple[str, Answer, bytes] | None:
        """The URL, what its server said, and the body; None unless one has come whole."""
        body_at, num_bytes, crc = HEAD.unpack(os.pread(self._file, HEAD.size, 0).ljust(HEAD.size, b"\0"))
        body = os.pread(self._file, num_bytes, body_at)
        # A machine that lost its power may have kept the head and not the body.
        if not body_at or len(body) != num_bytes or crc32(body) != crc:
            return None
        url, came = json.loads(os.pread(self._file, body_at - HEAD.size, HEAD.size))
        return url, Answer(**came | {"reason": Reason(came["reason"])}), body

    def close(self) -> None:
        """The file stays."""
        os.close(self._file)

    def _write(self, content: bytes, offset: int) -> None:
        with self._told():
            while content:
                written = os.pwrite(self._file, content, offset)
                content, offset = content[written:], offset + written

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A disk's error must not be taken for the net's."""
        try:
            yield
        except OSError as error:
            raise EnvironmentProblemError(f"writing {self.path}: {explain(error)}") from error


class Inbox:
    """A folder of trays, as many as bodies are on their way; a context manager."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._free: list[Tray] = []
        self._in_use: set[Tray] = set()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for tray in self._free:
            tray.close()
            tray.path.unlink()
        for tray in self._in_use:
            tray.close()
        with suppress(OSError):  # Bodies without a verdict keep it there.
            self._folder.rmdir()

    def empty(self) -> Iterator[tuple[str, Answer, bytes]]:
        """What had come whole when an earlier run was interrupted; each is gone when the next is asked for."""
        for path in sorted(self._folder.iterdir()):
            tray = Tray(path)
            found = tray.read()
            tray.close()
            if found:
                yield found
            path.unlink()

    @contextmanager
    def receive(self, url: str, came: Answer) -> Iterator[Tray]:
        """A tray for a body on its way; unless that has come whole in the block, the tray is free again."""
        tray = self._free.pop() if self._free else Tray(self._folder / f"{len(self._in_use):04d}")
        self._in_use.add(tray)
        tray.begin(url, came)
        try:
            yield tray
        finally:
            if not tray.is_whole:
                self.give_back(tray)

    def give_back(self, tray: Tray) -> None:
        """Its body has its verdict, or will not come."""
        tray.clear()
        self._in_use.remove(tray)
        self._free.append(tray)

    def adopt(self, folder: Path) -> None:
        """Take the trays of another inbox, which is not in use."""
        for path in folder.iterdir() if folder.is_dir() else ():
            path.rename(self._folder / f"{folder.stem}-{path.name}")
