"""MongoDB: a collection's documents, in `_id` order; the only door to pymongo. Nothing is ever written there.

A connection that drops is taken up after the last document that arrived, and so is an
interrupted snapshot; documents that came meanwhile with a smaller `_id` are not in it.
"""

import json
import re
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.progress import say
from tfpipe.core.secrets import expand, redact
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.sources.documents import Batch, RowReader

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

T = TypeVar("T")
BATCH_DOCUMENTS = 500
COUNT_MS = 20
"""For counting; MongoDB knows the number, and a server that only speaks like it may not."""
PAUSES_S = (1, 2, 4, 8, 16, 32)
"""Before each try to get a dropped connection back."""
OPTIONS: dict[str, Any] = {
    "appName": "tfpipe",
    "readPreference": "secondaryPreferred",
    "serverSelectionTimeoutMS": 10_000,
    # A server that says nothing for so long counts as gone.
    "socketTimeoutMS": 300_000,
}
"""Where the address does not say otherwise."""
BRIEFLY = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
DECODING: dict[str, Any] = {
    "tz_aware": True,
    "uuidRepresentation": "standard",
    # One document's odd date or broken text must not end the whole snapshot.
    "datetime_conversion": "DATETIME_AUTO",
    "unicode_decode_error_handler": "replace",
}


def iter_batches(settings: SnapshotSettings, *, images_dir: Path, seed: int, after: str = "") -> Iterator[Batch]:
    """One row per document that `snapshot.filter` lets through; unset, all.

    Raises:
        DataError: when the server cannot be reached or refuses, there are no such documents,
            or, naming its `_id`, one has no label or a field that is no text.
    """
    reader = RowReader(settings)
    with _collection(settings) as collection, _told(settings):
        start = after
        for documents in _iter_resumed(collection, settings, after):
            if "_id" not in documents[0]:
                raise DataError(f"`{settings.collection}` has documents without `_id`; a view must leave it in.")
            rows = [reader.read(document, f"document {document['_id']}") for document in documents]
            after = _bookmark(documents)
            yield Batch(rows, after)
        if after == start == "":
            raise DataError(_why_nothing(collection, settings))


def count(settings: SnapshotSettings) -> int | None:
    """Documents of the collection; None where the server would have to look at them one by one."""
    from pymongo.errors import ExecutionTimeout

    if settings.filter:
        return None
    with _collection(settings) as collection, _told(settings):
        try:
            return int(collection.estimated_document_count(maxTimeMS=COUNT_MS))
        except ExecutionTimeout:
            return None


def check(settings: SnapshotSettings, timeout_s: float) -> None:
    """Read one document, without patience.

    Raises:
        ConfigError: when the address is none.
        DataError: as `iter_batches`; also when there is no document.
    """
    options = OPTIONS | dict.fromkeys(BRIEFLY, int(1000 * timeout_s))
    with _collection(settings, options) as collection, _told(settings):
        if collection.find_one(_query(settings.filter), {"_id": 1}, max_time_ms=int(1000 * timeout_s)) is None:
            raise DataError(_why_nothing(collection, settings))


@contextmanager
def _collection(
    settings: SnapshotSettings, options: dict[str, Any] = OPTIONS
) -> "Iterator[Collection[dict[str, Any]]]":
    from pymongo.errors import ConfigurationError

    with _connect(settings, options) as client:
        try:
            database = client.get_default_database()
        except ConfigurationError:
            shown = redact(settings.source)
            raise ConfigError(f"{shown}: names no database, as in mongodb://host/database.") from None
        yield database[settings.collection]


def _connect(settings: SnapshotSettings, options: dict[str, Any]) -> "MongoClient[dict[str, Any]]":
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    address = expand(settings.source)
    options = {name: value for name, value in options.items() if f"{name}=".lower() not in address.lower()}
    try:
        with warnings.catch_warnings():
            # pymongo passes over an option that it does not know, and only warns.
            warnings.simplefilter("error", UserWarning)
            return MongoClient(address, **options, **DECODING)
    except (PyMongoError, ValueError, UserWarning) as error:
        shown, reason = redact(settings.source), redact(str(error))
        raise ConfigError(f"{shown}: not an address that can be used ({reason}).") from None


def _iter_resumed(
    collection: "Collection[dict[str, Any]]", settings: SnapshotSettings, after: str
) -> Iterator[list[dict[str, Any]]]:
    """Batches of documents, over as many connections as it takes."""
    from pymongo.errors import AutoReconnect, CursorNotFound, ServerSelectionTimeoutError

    pauses = iter(PAUSES_S)
    answered = False
    while True:
        try:
            for documents in _one_ahead(_iter_documents(collection, settings, after)):
                yield documents
                after, pauses, answered = _bookmark(documents), iter(PAUSES_S), True
            return
        except (AutoReconnect, CursorNotFound) as error:
            if not answered and isinstance(error, ServerSelectionTimeoutError):
                raise
            _wait(pauses, settings, _reason(error))


def _one_ahead(batches: Iterator[T]) -> Iterator[T]:
    """The same batches; while one is worked on, the server is already at the next."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _wait(pauses: Iterator[int], settings: SnapshotSettings, reason: str) -> None:
    address = redact(settings.source)
    for pause in pauses:
        say(f"  {address}: connection lost ({reason}); trying again in {pause} s")
        time.sleep(pause)
        return
    raise DataError(f"{address}: the connection was lost and {len(PAUSES_S)} tries did not bring it back ({reason}).")


def _iter_documents(
    collection: "Collection[dict[str, Any]]", settings: SnapshotSettings, after: str
) -> Iterator[list[dict[str, Any]]]:
    from bson import json_util

    query = _query(settings.filter)
    if after:
        last = json_util.loads(after, json_options=_json_options())
        # `$gt` alone passes over every `_id` of another type than the last one's.
        further = {"$expr": {"$gt": ["$_id", {"$literal": last}]}}
        query = {"$and": [query, further]}
    # The hint keeps the server from collecting and sorting everything before the first document.
    cursor = collection.find(
        query, _projection(settings), sort=[("_id", 1)], hint=[("_id", 1)], batch_size=BATCH_DOCUMENTS
    )
    with cursor:
        while documents := list(islice(cursor, BATCH_DOCUMENTS)):
            yield documents


def _query(document: dict[str, Any]) -> Any:
    """A filter as YAML has it: with dates, and with MongoDB's own kinds in Extended JSON, such as `{$oid: …}`."""
    from bson import json_util
    from bson.errors import InvalidId

    def extended(value: Any) -> Any:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        return json_util.default(value)

    try:
        return json_util.loads(json.dumps(document, default=extended), json_options=_json_options())
    except (ValueError, TypeError, InvalidId) as error:
        raise ConfigError(f"snapshot.filter: {error}.") from None


def _projection(settings: SnapshotSettings) -> dict[str, int] | None:
    """The fields that rows are made of; None, all of them, where all others ride along."""
    if settings.extra_fields is None:
        return None
    names = [*(name for names in RowReader(settings).names.values() for name in names), *settings.extra_fields]
    # A projection reaches into lists as wholes, and may not name a field along with a part of it.
    wholes = {re.split(r"\.\d+(?:\.|$)", name)[0] for name in names}
    outermost = {name for name in wholes if not any(name.startswith(f"{other}.") for other in wholes)}
    return dict.fromkeys(sorted(outermost | {"_id"}), 1)


def _bookmark(documents: list[dict[str, Any]]) -> str:
    from bson import json_util

    return json_util.dumps(documents[-1].get("_id"), json_options=_json_options())


def _json_options() -> Any:
    from bson.binary import UuidRepresentation
    from bson.json_util import JSONMode, JSONOptions

    return JSONOptions(json_mode=JSONMode.CANONICAL, uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)


@contextmanager
def _told(settings: SnapshotSettings) -> Iterator[None]:
    """What pymongo raises, in a sentence of ours without the password."""
    from bson.errors import BSONError
    from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

    address = redact(settings.source)
    try:
        yield
    except ServerSelectionTimeoutError as error:
        raise DataError(
            f"{address}: no server answers ({_reason(error)}). Is it running, and the address right?"
        ) from None
    except OperationFailure as error:
        raise DataError(
            f"{address}: {REFUSALS.get(error.code or 0, 'the server refused')} ({_reason(error)})."
        ) from None
    except (PyMongoError, BSONError) as error:
        raise DataError(f"{address}: {_reason(error)}.") from None


REFUSALS = {18: "wrong user or password", 13: "this user may not read there"}
"""By MongoDB's error codes."""


def _reason(error: Exception) -> str:
    """The first of what pymongo tells, which goes on with time-outs, topologies and whole replies."""
    return redact(re.split(r" \(configured timeouts|, Timeout: |, full error: ", str(error))[0]).rstrip(".,")


def _why_nothing(collection: "Collection[dict[str, Any]]", settings: SnapshotSettings) -> str:
    names = sorted(collection.database.list_collection_names(authorizedCollections=True))
    address, name = redact(settings.source), settings.collection
    if name not in names:
        return f"{address}: no collection `{name}`; there are {', '.join(names) or 'none'}."
    return f"{address}: `{name}` has no document{' that matches `snapshot.filter`' if settings.filter else ''}."
