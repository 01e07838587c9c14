"""PostgreSQL through SQLAlchemy: the records of a table or a SELECT, in one read-only transaction.

That transaction is one moment of the database, and cannot be gone on with after an
interruption: a snapshot that breaks off begins again.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfpipe.core.errors import ConfigError, DataError, EnvironmentProblemError
from tfpipe.core.secrets import expand, redact
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources.documents import RowReader

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Select

BATCH_RECORDS = 1000
CONNECT_TIMEOUT_S = 10
TABLE = re.compile(r'(?:("[^"]+"|\w+)\.)?("[^"]+"|\w+)')
"""A table's name, perhaps with its schema; anything else is a SELECT."""


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per record; those of a table in the order of its primary key, so that every run writes the same.

    Raises:
        DataError: when the server cannot be reached or refuses, or a record has no label or no id.
        EnvironmentProblemError: when the extra `postgres` is not installed.
    """
    reader = RowReader(settings)
    engine = _engine(settings)
    with _told(settings), engine.connect() as connection:
        # The server itself refuses to write, and all batches show the same moment.
        reading = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with closing(_iter_records(reading, settings.query)) as records:
            for number, record in enumerate(records, start=1):
                yield reader.read(record, f"record {number}")


def check(settings: SnapshotSettings, timeout_s: float) -> None:
    """Have one record of the table or the SELECT planned, not fetched, without patience.

    Raises:
        As `iter_rows`.
    """
    from sqlalchemy import text

    # libpq waits two seconds at least.
    engine = _engine(settings, max(2, int(timeout_s)))
    table = TABLE.fullmatch(settings.query.strip())
    with _told(settings), engine.connect() as connection:
        reading = connection.execution_options(postgresql_readonly=True, no_parameters=True)
        reading.execute(text(f"SET statement_timeout = {int(1000 * timeout_s)}"))
        reading.exec_driver_sql(f"EXPLAIN {f'TABLE {settings.query}' if table else settings.query}")


def _iter_records(connection: "Connection", query: str) -> Generator[dict[str, Any], None, None]:
    # With parameters, even none, the driver would take a percent sign in the query for a place to put one.
    streamed = connection.execution_options(yield_per=BATCH_RECORDS, no_parameters=True)
    table = TABLE.fullmatch(query.strip())
    result = streamed.execute(_select_all(connection, *table.groups())) if table else streamed.exec_driver_sql(query)
    with result:
        columns = list(result.keys())
        if len(columns) > len(set(columns)):
            raise DataError(
                f"`snapshot.query` gives two columns one name, of {', '.join(columns)}; rename one with AS."
            )
        for values in result:
            yield dict(zip(columns, values, strict=True))


def _select_all(connection: "Connection", schema: str | None, table: str) -> "Select[Any]":
    from sqlalchemy import column, inspect, select, text
    from sqlalchemy import table as table_named

    schema, table = schema and _folded(schema), _folded(table)
    key = inspect(connection).get_pk_constraint(table, schema)["constrained_columns"]
    return select(text("*")).select_from(table_named(table, schema=schema)).order_by(*map(column, key))


def _folded(name: str) -> str:
    """As PostgreSQL takes a name: in small letters, unless it stands in quotes."""
    return name.strip('"') if name.startswith('"') else name.lower()


def _engine(settings: SnapshotSettings, timeout_s: int = CONNECT_TIMEOUT_S) -> "Engine":
    try:
        import psycopg  # noqa: F401 - SQLAlchemy would import it later, and say less clearly that it is missing
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise EnvironmentProblemError("a postgresql source needs an extra: pip install 'tfpipe[postgres]'.") from None
    address = expand(settings.source)
    try:
        url = make_url(address).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        shown = redact(settings.source)
        raise ConfigError(f"{shown}: not an address, such as postgresql://user@host/database.") from None
    timeout = {} if "connect_timeout" in url.query else {"connect_timeout": timeout_s}
    return create_engine(url, poolclass=NullPool, connect_args=timeout)


@contextmanager
def _told(settings: SnapshotSettings) -> Iterator[None]:
    """What SQLAlchemy raises, in a sentence of ours without the password."""
    from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError

    address = redact(settings.source)
    try:
        yield
    except NoSuchTableError as error:
        raise DataError(f"{address}: no table {error}. `snapshot.query` takes a table's name, or a SELECT.") from None
    except DBAPIError as error:
        reason = redact(str(error.orig).strip().splitlines()[0].rstrip("."))
        again = " The same command takes the snapshot from the beginning." if error.connection_invalidated else ""
        raise DataError(f"{address}: {reason}.{again}") from None
    except SQLAlchemyError as error:
        raise DataError(f"{address}: {redact(str(error).splitlines()[0])}") from None
