"""MongoDB over TCP: documents as rows, connections that break, and what a person got wrong."""

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from bson import Decimal128, ObjectId
from database_servers import MongoDB, Proxy, free_port

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources import SOURCES
from tfpipe.data.sources import mongo as source


def settings_of(address: str, **settings: Any) -> SnapshotSettings:
    return SnapshotSettings(source=address, **{"collection": "plants"} | settings)


def rows_of(address: str, **settings: Any) -> list[Row]:
    rows = SOURCES["mongodb"].iter_rows(settings_of(address, **settings), images_dir=Path("unused"), seed=0)
    return list(rows)


def plants(number: int) -> list[dict[str, Any]]:
    return [
        {"_id": i, "latin_name": f"Species {i % 7}", "image_url": f"http://x/{i}.jpg", "note": "n" * 200}
        for i in range(number)
    ]


# What stands in documents


def test_usual_names_are_known_and_the_rest_rides_along(mongo: MongoDB) -> None:
    key = ObjectId()
    mongo.fill({"_id": key, "latin_name": " Rosa canina ", "image_url": "http://x/1.jpg", "region": "EU", "lat": 1.5})
    (row,) = rows_of(mongo.address)
    assert (row.id, row.label, row.url, row.region) == (str(key), "Rosa canina", "http://x/1.jpg", "EU")
    assert row.extra == {"lat": 1.5, "latin_name": "Rosa canina"}


def test_fields_reach_into_documents_and_lists(mongo: MongoDB) -> None:
    photos = [{"url": "http://x/1.jpg"}, {"url": "http://x/2.jpg"}]
    mongo.fill({"_id": "a", "taxon": {"name": "Bellis"}, "photos": photos, "plant": 7.0})
    fields = {"label": "taxon.name", "url": "photos.1.url", "group": "plant"}
    (row,) = rows_of(mongo.address, fields=fields)
    assert (row.id, row.label, row.url, row.group) == ("a", "Bellis", "http://x/2.jpg", "7")
    assert row.extra == {"taxon": {"name": "Bellis"}, "photos": photos, "latin_name": "Bellis"}
    (lean,) = rows_of(mongo.address, fields=fields, extra_fields=["taxon.name", "absent"])
    assert (lean.url, lean.extra) == ("http://x/2.jpg", {"latin_name": "Bellis"})


def test_what_json_does_not_know_is_written_as_text(mongo: MongoDB) -> None:
    mongo.fill(
        {
            "_id": UUID(int=7),
            "label": 3,
            "seen": datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
            "price": Decimal128(Decimal("1.10")),
            "ref": ObjectId("65f000000000000000000001"),
            "raw": b"\x00\xff",
            "nothing": float("nan"),
            "deep": {"seen": [datetime(2024, 5, 1, tzinfo=UTC)]},
        }
    )
    (row,) = rows_of(mongo.address)
    line = row.to_json()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "label": "3",
        "seen": "2024-05-01T12:30:00+00:00",
        "price": "1.10",
        "ref": "65f000000000000000000001",
        "raw": "00ff",
        "nothing": None,
        "deep": {"seen": ["2024-05-01T00:00:00+00:00"]},
        "latin_name": "3",
    }


def test_a_filter_lets_through_what_it_says(mongo: MongoDB) -> None:
    mongo.fill(*plants(20))
    rows = rows_of(mongo.address, filter={"latin_name": {"$in": ["Species 1", "Species 2"]}})
    assert [row.id for row in rows] == [str(i) for i in range(20) if i % 7 in (1, 2)]


def test_a_filter_in_yaml_reaches_what_yaml_has_no_word_for(mongo: MongoDB) -> None:
    keys = [ObjectId() for _ in range(3)]
    mongo.fill(*({"_id": key, "label": "x", "seen": datetime(2024, 1, day)} for day, key in enumerate(keys, start=1)))
    for text, found in (
        (f"_id: {{$oid: {keys[1]}}}", [1]),
        (f"_id: {{$in: [{{$oid: {keys[0]}}}, {{$oid: {keys[2]}}}]}}", [0, 2]),
        ("seen: {$gte: 2024-01-02}", [1, 2]),
        ("seen: {$gt: 2024-01-02T00:00:00Z}", [2]),
        ("label: {$regex: ^X, $options: i}", [0, 1, 2]),
    ):
        rows = rows_of(mongo.address, filter=yaml.safe_load(text))
        assert [row.id for row in rows] == [str(keys[number]) for number in found], text


@pytest.mark.parametrize("text", ["_id: {$oid: 12}", "seen: {$gt: {$date: yesterday}}", "{$or: {a: 1}}"])
def test_a_filter_that_is_none_is_told(mongo: MongoDB, text: str) -> None:
    mongo.fill(*plants(1))
    with pytest.raises((ConfigError, DataError)) as caught:
        rows_of(mongo.address, filter=yaml.safe_load(text))
    assert "\n" not in str(caught.value)


def test_a_view_is_read_like_a_collection(mongo: MongoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BATCH_DOCUMENTS", 3)
    mongo.fill(*plants(20))
    mongo.database.command("create", "some", viewOn="plants", pipeline=[{"$match": {"_id": {"$gte": 10}}}])
    batches = list(
        SOURCES["mongodb"].iter_batches(
            settings_of(mongo.address, collection="some"), images_dir=Path("unused"), seed=0
        )
    )
    assert [row.id for batch in batches for row in batch.rows] == [str(i) for i in range(10, 20)]
    rest = SOURCES["mongodb"].iter_batches(
        settings_of(mongo.address, collection="some"), images_dir=Path("unused"), seed=0, after=batches[0].end
    )
    assert [row.id for batch in rest for row in batch.rows] == [str(i) for i in range(13, 20)]
    mongo.database.command("create", "bare", viewOn="plants", pipeline=[{"$project": {"_id": 0}}])
    with pytest.raises(DataError, match="documents without `_id`"):
        rows_of(mongo.address, collection="bare")


def test_only_the_fields_that_are_needed_travel(mongo: MongoDB, proxy_to: Callable[..., Proxy]) -> None:
    documents = [document | {"thumbnail": b"x" * 20_000} for document in plants(50)]
    mongo.fill(*documents)
    whole, lean = proxy_to(mongo), proxy_to(mongo)
    assert len(rows_of(mongo.through(whole))) == 50
    rows = rows_of(mongo.through(lean), extra_fields=["note"])
    assert [row.extra for row in rows] == [{"note": "n" * 200, "latin_name": row.label} for row in rows]
    assert whole.num_bytes > 50 * 20_000
    assert lean.num_bytes < 50 * 1_000


# Order, and going on in the middle


@pytest.fixture
def mixed(mongo: MongoDB) -> Iterator[MongoDB]:
    """Keys of many kinds, which `$gt` alone would not cross."""
    keys: list[Any] = [ObjectId() for _ in range(6)]
    keys += [3, 1, 2.5, 10**12, "b", "a", "é", datetime(2024, 1, 1), datetime(2023, 1, 1), UUID(int=1)]
    random.shuffle(keys)
    mongo.fill(*({"_id": key, "label": "x"} for key in keys))
    yield mongo


def test_rows_come_in_the_order_of_id(mixed: MongoDB) -> None:
    expected = [document["_id"] for document in mixed.database.plants.find().sort("_id")]
    found = [row.id for row in rows_of(mixed.address)]
    numbers = ["1", "2.5", "3", str(10**12)]
    assert found[:4] == numbers
    assert found[4:7] == ["a", "b", "é"]
    assert len(found) == len(set(found)) == len(expected)


def test_after_any_batch_come_the_rows_that_follow_it(mixed: MongoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BATCH_DOCUMENTS", 1)
    read = SOURCES["mongodb"].iter_batches
    settings = settings_of(mixed.address)
    batches = list(read(settings, images_dir=Path("unused"), seed=0))
    ids = [row.id for batch in batches for row in batch.rows]
    for number, batch in enumerate(batches, start=1):
        rest = read(settings, images_dir=Path("unused"), seed=0, after=batch.end)
        assert [row.id for following in rest for row in following.rows] == ids[number:]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    mongo: MongoDB,
    proxy_to: Callable[..., Proxy],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(source, "PAUSES_S", (0.01, 0.01, 0.01))
    mongo.fill(*plants(5000))
    proxy = proxy_to(mongo, cut_after=500_000)
    assert rows_of(mongo.through(proxy)) == rows_of(mongo.address)
    assert proxy.cuts == 1
    told = capsys.readouterr().err
    assert "connection lost" in told
    assert "trying again in 0.01 s" in told


def test_a_server_that_is_gone_for_good_is_told_and_what_came_before_stays(
    mongo: MongoDB, proxy_to: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PAUSES_S", (0.01, 0.01))
    mongo.fill(*plants(5000))
    proxy = proxy_to(mongo, cut_after=500_000, stay_down=True)
    settings = settings_of(f"{mongo.through(proxy)}&serverSelectionTimeoutMS=200")
    came = []
    with pytest.raises(DataError, match="connection was lost and 2 tries did not bring it back") as caught:
        for batch in SOURCES["mongodb"].iter_batches(settings, images_dir=Path("unused"), seed=0):
            came.append(batch)
    assert came
    assert "\n" not in str(caught.value)
    rest = SOURCES["mongodb"].iter_batches(
        settings_of(mongo.address), images_dir=Path("unused"), seed=0, after=came[-1].end
    )
    ids = [row.id for batch in [*came, *rest] for row in batch.rows]
    assert ids == [str(i) for i in range(5000)]


# What a person got wrong


def test_a_server_that_is_down_is_told() -> None:
    address = f"mongodb://reader:{'pw'}@127.0.0.1:{free_port()}/plants?serverSelectionTimeoutMS=200"
    with pytest.raises(DataError, match=r"no server answers \(127\.0\.0\.1:\d+: .*Connection refused") as caught:
        rows_of(address)
    assert "\n" not in str(caught.value)
    assert "pw" not in str(caught.value)
    with pytest.raises(DataError, match="no server answers"):
        SOURCES["mongodb"].count(settings_of(address))


def test_a_collection_that_is_not_there_is_told_with_those_that_are(mongo: MongoDB) -> None:
    mongo.fill(*plants(1))
    with pytest.raises(DataError, match="no collection `plant`; there are plants"):
        rows_of(mongo.address, collection="plant")


def test_a_filter_that_nothing_matches_is_told(mongo: MongoDB) -> None:
    mongo.fill(*plants(1))
    with pytest.raises(DataError, match=r"`plants` has no document that matches `snapshot\.filter`"):
        rows_of(mongo.address, filter={"latin_name": "Rosa"})


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("mongodb://localhost", r"names no database, as in mongodb://host/database"),
        ("mongodb://reader:hunt/er2@localhost/plants", "percent-encoded"),
        ("mongodb://reader:hunt er2@localhost/plants", "percent-encoded"),
        ("mongodb://reader:hunter2@localhost:port/plants", "not an address that can be used"),
        ("mongodb://reader:${NO_SUCH_VARIABLE}@localhost/plants", "NO_SUCH_VARIABLE"),
        ("mongodb://reader:hunter2@localhost/plants?readPreference=nearby", "nearby"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_password(address: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        rows_of(address)
    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"image_url": "http://x"}, r"no `label`.*The fields are `_id`, `image_url`.*`snapshot\.fields`"),
        ({"latin_name": None}, "no `latin_name`"),
        ({"latin_name": "  "}, "no `latin_name`"),
        ({"latin_name": ["Rosa", "Bellis"]}, "`latin_name` is a list, expected a text"),
        ({"latin_name": {"name": "Rosa"}}, "`latin_name` is an object, expected a text"),
        ({"latin_name": "Rosa", "image_url": ["http://x"]}, "`image_url` is a list, expected a text"),
    ],
)
def test_a_document_that_is_no_row_is_told_by_its_id(mongo: MongoDB, document: dict[str, Any], told: str) -> None:
    key = ObjectId()
    mongo.fill({"_id": 1, "latin_name": "Bellis"}, document | {"_id": key})
    with pytest.raises(DataError, match=told) as caught:
        rows_of(mongo.address)
    assert str(caught.value).startswith(f"document {key}: ")
    assert "\n" not in str(caught.value)


# Passwords


def test_a_user_that_may_only_read_is_enough(guarded: str, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGO_PASSWORD", password)
    address = f"mongodb://reader:${{MONGO_PASSWORD}}@{guarded}/plants"
    assert len(rows_of(address)) == 30
    assert SOURCES["mongodb"].count(settings_of(address)) == 30


def test_a_wrong_password_is_told_and_not_shown(guarded: str) -> None:
    for read in (rows_of, lambda address: SOURCES["mongodb"].count(settings_of(address))):
        with pytest.raises(DataError, match=r"mongodb://reader:\*\*\*@.*wrong user or password") as caught:
            read(f"mongodb://reader:n0tthis@{guarded}/plants")
        assert "n0tthis" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_user_without_a_password_is_told(guarded: str) -> None:
    with pytest.raises(DataError, match="may not read there"):
        rows_of(f"mongodb://{guarded}/plants")


def test_a_look_reads_one_document_or_says_why_not(mongo: MongoDB) -> None:
    mongo.fill(*plants(1))
    source.check(settings_of(mongo.address), 2.0)
    with pytest.raises(DataError, match="no collection `plant`; there are plants"):
        source.check(settings_of(mongo.address, collection="plant"), 2.0)
    start = time.monotonic()
    with pytest.raises(DataError, match="no server answers"):
        source.check(settings_of(f"mongodb://127.0.0.1:{free_port()}/plants"), 0.3)
    assert time.monotonic() - start < 3
