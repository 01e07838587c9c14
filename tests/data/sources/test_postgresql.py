"""PostgreSQL over TCP: tables and queries as rows, never a write, and what a person got wrong."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from database_servers import Proxy, free_port, postgresql
from sqlalchemy import Engine, create_engine, make_url, text

from tfpipe.core.errors import ConfigError, DataError, EnvironmentProblemError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources import SOURCES
from tfpipe.data.sources.postgresql import check

TABLES = """
CREATE TABLE plants (plant_id int PRIMARY KEY, species text, photo text, seen timestamptz, price numeric, more jsonb);
INSERT INTO plants SELECT i, 'Species ' || i % 7, 'http://x/' || i, '2024-05-01T12:30:00Z', 1.10, '{"zone": ["EU", 2]}'
    FROM generate_series(3000, 1, -1) AS i;
CREATE SCHEMA "Field notes";
CREATE TABLE "Field notes"."Big table" (id text, label text);
INSERT INTO "Field notes"."Big table" VALUES ('a', 'Rosa'), ('b', '100 %');
CREATE VIEW seen AS SELECT plant_id AS id, species AS label FROM plants WHERE plant_id <= 5;
CREATE FUNCTION count_up() RETURNS bigint LANGUAGE sql
    AS 'UPDATE plants SET photo = NULL; SELECT count(*) FROM plants';
"""
FIELDS = {"id": "plant_id", "label": "species", "url": "photo"}


@pytest.fixture(scope="module")
def address(password: str) -> Iterator[str]:
    """Of a database with some tables; the password stands in PG_PASSWORD."""
    with postgresql(password) as address:
        with engine_of(address, password).begin() as connection:
            connection.execution_options(no_parameters=True).exec_driver_sql(TABLES)
        yield address.replace("tfpipe@", "tfpipe:${PG_PASSWORD}@")


@pytest.fixture(autouse=True)
def known_password(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_PASSWORD", password)


def engine_of(address: str, password: str) -> Engine:
    from sqlalchemy.pool import NullPool

    return create_engine(make_url(address).set(drivername="postgresql+psycopg", password=password), poolclass=NullPool)


def rows_of(address: str, query: str, **settings: Any) -> list[Row]:
    settings = {"source": address, "query": query} | settings
    return list(SOURCES["postgresql"].iter_rows(SnapshotSettings(**settings), images_dir=Path("unused"), seed=0))


def test_a_table_comes_in_the_order_of_its_key(address: str) -> None:
    rows = rows_of(address, "plants", fields=FIELDS)
    assert [row.id for row in rows] == [str(i) for i in range(1, 3001)]
    assert json.loads(rows[8].to_json()) == {
        "id": "9",
        "label": "Species 2",
        "url": "http://x/9",
        "seen": "2024-05-01T12:30:00+00:00",
        "price": "1.10",
        "more": {"zone": ["EU", 2]},
        "latin_name": "Species 2",
    }
    reached = rows_of(address, "public.plants", fields=FIELDS | {"region": "more.zone.0"}, extra_fields=[])
    assert (reached[0].region, reached[0].extra) == ("EU", {"latin_name": "Species 1"})


def test_a_name_may_need_quotes_and_a_view_is_a_table(address: str) -> None:
    assert [row.label for row in rows_of(address, '"Field notes"."Big table"')] == ["Rosa", "100 %"]
    assert sorted(row.id for row in rows_of(address, "Public.SEEN")) == ["1", "2", "3", "4", "5"]


def test_a_query_is_taken_as_it_stands(address: str) -> None:
    # A percent sign and a colon mean something to drivers, and nothing here.
    query = "SELECT plant_id AS id, species AS label, 'a:b'::text AS region FROM plants WHERE species LIKE '%6' LIMIT 3"
    assert [(row.label, row.region) for row in rows_of(address, query)] == [("Species 6", "a:b")] * 3


def test_nothing_can_be_written(address: str, password: str) -> None:
    for query, told in (
        (
            "WITH gone AS (DELETE FROM plants RETURNING *) SELECT plant_id AS id, species AS label FROM gone",
            "modifying",
        ),
        ("SELECT count_up() AS id, 'x' AS label", "read-only transaction"),
        ("DROP TABLE plants", "syntax error"),
    ):
        with pytest.raises(DataError, match=told):
            rows_of(address, query)
    with engine_of(address, password).connect() as connection:
        assert connection.execute(text("SELECT count(photo) FROM plants")).scalar() == 3000


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("plant", "no table plant"),
        ("SELECT nothing FROM plants", 'column "nothing" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT a.plant_id, b.plant_id FROM plants a, plants b", "two columns one name"),
        ("SELECT plant_id AS id FROM plants", "record 1: no `label`.*The fields are `id`"),
        ("SELECT plant_id AS id, more AS label FROM plants", "record 1: `label` is an object, expected a text"),
    ],
)
def test_a_query_that_is_wrong_is_told_in_a_sentence(address: str, password: str, query: str, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        rows_of(address, query)
    assert "\n" not in str(caught.value)
    assert password not in str(caught.value)


def test_a_wrong_password_is_told_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_PASSWORD", "n0tthis")
    for wrong in (address, address.replace("${PG_PASSWORD}", "n0tthis")):
        with pytest.raises(DataError, match="password authentication failed") as caught:
            rows_of(wrong, "plants")
        assert "n0tthis" not in str(caught.value)


def test_a_server_that_is_down_is_told() -> None:
    with pytest.raises(DataError, match=r"postgresql://me:\*\*\*@127.*[Cc]onnection refused") as caught:
        rows_of(f"postgresql://me:n0tthis@127.0.0.1:{free_port()}/plants", "plants")
    assert "\n" not in str(caught.value)


def test_a_connection_that_breaks_is_told(address: str, password: str) -> None:
    url = make_url(address)
    assert url.port
    proxy = Proxy(("127.0.0.1", url.port), cut_after=100_000)
    with pytest.raises(DataError, match="takes the snapshot from the beginning") as caught:
        rows_of(address.replace(str(url.port), str(proxy.port)), "plants", fields=FIELDS)
    proxy.close()
    assert "\n" not in str(caught.value)
    assert password not in str(caught.value)


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match=r"not an address, such as postgresql://user@host/database"):
        rows_of("postgresql://me:n0tthis@host:port/plants", "plants")


def test_without_the_extra_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EnvironmentProblemError, match=r"pip install 'tfpipe\[postgres\]'"):
        rows_of("postgresql://localhost/plants", "plants")


def test_sources_import_no_driver_before_they_are_asked() -> None:
    script = "import sys, tfpipe.data.sources; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"pymongo", "bson", "sqlalchemy", "psycopg", "tensorflow_datasets", "tensorflow"}
    assert not heavy & set(done.stdout.split())


def test_a_look_has_the_query_planned_or_says_why_not(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(query: str) -> None:
        check(SnapshotSettings(source=address, query=query), 2.0)

    for query in (
        "plants",
        '"Field notes"."Big table"',
        "SELECT * FROM seen WHERE label LIKE '%7'",
        "SELECT pg_sleep(9)",
    ):
        look(query)
    with pytest.raises(DataError, match='relation "plant" does not exist'):
        look("plant")
    with pytest.raises(DataError, match="read-only transaction"):
        look("SELECT 1; DELETE FROM plants")
    monkeypatch.setenv("PG_PASSWORD", "n0tthis")
    with pytest.raises(DataError, match="password authentication failed"):
        look("plants")
