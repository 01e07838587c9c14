"""Servers that are started once, and a database of its own for each test."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from database_servers import MongoDB, Proxy, mongodb
from pymongo import MongoClient

OWN = "TFPIPE_TEST_MONGODB_URI"


@pytest.fixture(scope="session", params=["local", OWN])
def mongodb_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that is started here, and of the one that the environment names."""
    if request.param == OWN:
        if OWN not in os.environ:
            pytest.skip(f"{OWN} names no server")
        yield os.environ[OWN]
        return
    with mongodb(tmp_path_factory.mktemp("mongodb")) as address:
        yield address


@pytest.fixture
def mongo(mongodb_address: str) -> Iterator[MongoDB]:
    with MongoClient(mongodb_address, uuidRepresentation="standard") as client:
        name = f"tfpipe_{uuid4().hex}"
        yield MongoDB(mongodb_address, client[name])
        client.drop_database(name)


@pytest.fixture(scope="session")
def password() -> str:
    """With all that an address cannot hold as it is."""
    return "s3cret/@:word"


@pytest.fixture(scope="session")
def guarded(password: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server that asks for the password of `reader`, who may only read."""
    folder = tmp_path_factory.mktemp("guarded")
    with mongodb(folder) as address, MongoClient(address) as client:
        client.plants.plants.insert_many({"_id": i, "latin_name": f"Species {i % 3}"} for i in range(30))
        client.plants.command("createUser", "reader", pwd=password, roles=["read"])
    with mongodb(folder, "--auth") as address:
        yield address.removeprefix("mongodb://")


@pytest.fixture
def proxy_to() -> Iterator[Callable[..., Proxy]]:
    """Makes proxies that are closed in the end."""
    proxies: list[Proxy] = []

    def make(server: MongoDB, **settings: Any) -> Proxy:
        proxies.append(Proxy(server.host_and_port, **settings))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
