"""What is known of every URL, in one SQLite file that survives a kill at any moment."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from tfpipe.core.errors import DataError, EnvironmentProblemError
from tfpipe.data.download.addresses import Link
from tfpipe.data.download.answers import ANSWER_FIELDS, Answer, Reason
from tfpipe.data.download.content import Terms, is_kept

PAGE = 256
COLUMNS = ", ".join(ANSWER_FIELDS)
URLS = f"""
    number INTEGER PRIMARY KEY,
    url TEXT UNIQUE NOT NULL,
    host TEXT NOT NULL,
    listed INTEGER NOT NULL, -- a row names it; otherwise only redirects led to it
    due INTEGER NOT NULL,    -- to be asked in this run
    {COLUMNS}
"""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS urls ({URLS});
CREATE INDEX IF NOT EXISTS due_urls ON urls (host, number) WHERE listed AND due;
CREATE TABLE IF NOT EXISTS run (id TEXT NOT NULL);
"""
MARKS = ", ".join("?" * len(ANSWER_FIELDS))
UPDATE = f"UPDATE SET (due, {COLUMNS}) = (0, {', '.join(f'excluded.{name}' for name in ANSWER_FIELDS)})"
SETTLE = f"""
INSERT INTO urls (url, host, {COLUMNS}, listed, due) VALUES (?, ?, {MARKS}, 0, 0)
ON CONFLICT (url) DO {UPDATE}
"""


class Journal:
    """URLs, whether they are still to be asked, and what they gave.

    An answer is committed by itself, after its image is in place. In WAL mode that is one append to a file that
    the operating system holds, so that a kill loses nothing that was written down, and costs some 30 µs.
    One process at a time has the file: the lock ends with it.

    Raises:
        EnvironmentProblemError: by any method, when the disk is full or another process has the file.
        DataError: when the file is damaged.
    """

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=1, isolation_level=None)
        with self._told():
            # An exclusive lock also spares the shared memory, which network disks do not have.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def begin(self, run: str, links: Iterable[Link], terms: Terms, *, recheck: bool) -> None:
        """Start a run, or go on with it.

        A new run asks for every link that has no image yet, or with `recheck` for all; the same run again only
        for what it has not asked for.

        Args:
            run: tells one run from another.
            links: of all rows; read only when the run is new.
            terms: an image that no longer meets them is asked for again, as is one that has gone.
            recheck: ask also for what is there.
        """
        with self._told(), self._transaction():
            if self._db.execute("SELECT 1 FROM run WHERE id = ?", (run,)).fetchone() is None:
                self._db.execute("DELETE FROM run")
                self._db.execute("INSERT INTO run VALUES (?)", (run,))
                self._db.execute("UPDATE urls SET listed = 0, due = (? OR reason IS NOT 'ok')", (recheck,))
                self._db.executemany(
                    "INSERT INTO urls (url, host, listed, due) VALUES (?, ?, 1, 1) "
                    "ON CONFLICT (url) DO UPDATE SET listed = 1",
                    ((link.url, link.host) for link in links),
                )
            gone = [(url,) for url, answer in self._settled_images() if not is_kept(answer, terms)]
            self._db.executemany("UPDATE urls SET due = 1 WHERE url = ?", gone)

    def settle(self, link: Link, answer: Answer) -> None:
        """Write down what a URL gave: it is not asked for again."""
        with self._told():
            self._db.execute(SETTLE, (link.url, link.host, *(getattr(answer, name) for name in ANSWER_FIELDS)))

    def settled(self, url: str) -> Answer | None:
        """What the URL gave, unless it is still to be asked."""
        return self._answer("url = ? AND NOT due", url)

    def known(self, url: str) -> Answer | None:
        """What the URL gave whenever it was asked last."""
        return self._answer("url = ? AND reason IS NOT NULL", url)

    def due_hosts(self) -> list[tuple[str, int]]:
        """Hosts and how many of their URLs are to be asked, those with most first."""
        return self._rows(
            "SELECT host, count(*) AS left FROM urls WHERE listed AND due GROUP BY host ORDER BY left DESC, host"
        )

    def iter_due(self, host: str) -> Iterator[Link]:
        """The host's URLs that are to be asked, in the rows' order."""
        last = -1
        while page := self._rows(
            "SELECT number, url FROM urls WHERE listed AND due AND host = ? AND number > ? ORDER BY number LIMIT ?",
            *(host, last, PAGE),
        ):
            yield from (Link(url, host) for _, url in page)
            last = page[-1][0]

    def count_urls(self) -> tuple[int, int]:
        """How many URLs the rows name, at how many hosts."""
        num_urls, num_hosts = self._rows("SELECT count(*), count(DISTINCT host) FROM urls WHERE listed")[0]
        return num_urls, num_hosts

    def count_bytes(self) -> int:
        """Of the images that the rows' URLs gave, each counted once."""
        images = "SELECT DISTINCT sha256, num_bytes FROM urls WHERE listed AND reason = 'ok'"
        return int(self._rows(f"SELECT ifnull(sum(num_bytes), 0) FROM ({images})")[0][0])

    def worst_hosts(self, limit: int) -> list[tuple[str, int, int, str]]:
        """Host, URLs, failures, and the commonest reason, of hosts with any failure; those with most first."""
        return self._rows(
            "SELECT host, sum(urls), sum(failed) AS failed_urls, max(CASE WHEN place = 1 THEN reason END) FROM ("
            "  SELECT host, reason, count(*) AS urls, (reason != 'ok') * count(*) AS failed,"
            "    row_number() OVER (PARTITION BY host ORDER BY (reason != 'ok') * count(*) DESC, reason) AS place"
            "  FROM urls WHERE listed GROUP BY host, reason"
            ") GROUP BY host HAVING failed_urls ORDER BY failed_urls DESC, host LIMIT ?",
            limit,
        )

    def hand_out(self, path: Path, *, share: int, shares: int) -> None:
        """Write a journal of what is known of one share of the hosts; their names decide which share is theirs."""
        with self._told():
            self._db.create_function("share_of", 1, lambda host: crc32(host.encode()) % shares, deterministic=True)
            self._db.execute("ATTACH ? AS share", (path.as_posix(),))
            self._db.execute(f"CREATE TABLE share.urls ({URLS})")
            self._db.execute("INSERT INTO share.urls SELECT * FROM urls WHERE share_of(host) = ?", (share,))
            self._db.execute("DETACH share")

    def take_back(self, path: Path) -> None:
        """Add what another journal has settled."""
        with self._told():
            self._db.execute("ATTACH ? AS share", (path.as_posix(),))
            names = f"url, host, {COLUMNS}"
            self._db.execute(
                f"INSERT INTO urls ({names}, listed, due) SELECT {names}, 0, 0 FROM share.urls WHERE NOT due "
                f"ON CONFLICT (url) DO {UPDATE}"
            )
            self._db.execute("DETACH share")

    def _answer(self, where: str, url: str) -> Answer | None:
        rows = self._rows(f"SELECT {COLUMNS} FROM urls WHERE {where}", url)
        return _answer_of(rows[0]) if rows else None

    def _settled_images(self) -> Iterator[tuple[str, Answer]]:
        query = f"SELECT url, {COLUMNS} FROM urls WHERE NOT due AND reason = 'ok'"
        for url, *values in self._db.execute(query):
            yield url, _answer_of(values)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._told():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                told = f"{self._path} is in use: another `tfpipe fetch` of this data set is under way."
            else:
                told = f"{self._path}: {error}. Nothing is lost; free some space and run the same command again."
            raise EnvironmentProblemError(told) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self._path} is damaged ({error}). Remove it: the images stay, but are asked for again."
            ) from error


def _answer_of(values: Iterable[Any]) -> Answer:
    reason, *others = values
    return Answer(Reason(reason), *others)
