"""The server as a process has it: real connections, slow clients, proxies, and the end."""

import http.client
import json
import signal
import socket
import time
from contextlib import closing
from typing import Any

import pytest
from oracle import Oracle, as_json, build_service, listening

from tfpipe.serving.app import build_app
from tfpipe.serving.server import run_server

HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
BODY = b'{"inputs": ["glad"]}'


def say(address: str, *parts: bytes) -> tuple[int, Any]:
    """Write the parts of a request, and read the answer."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        with closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            return response.status, json.loads(response.read())


def length(number: int) -> bytes:
    return f"Content-Length: {number}\r\n\r\n".encode()


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks_is_a_body() -> None:
    with listening(build_service(Oracle())) as (_, address):
        assert say(address, HEAD + CHUNKED, chunk(BODY[:8]), chunk(BODY[8:]), b"0\r\n\r\n") == (200, [as_json("glad")])
        assert say(address, HEAD + length(len(BODY)), BODY[:5], BODY[5:]) == (200, [as_json("glad")])


def test_a_large_body_is_refused_before_its_end() -> None:
    with listening(build_service(Oracle(), max_body_bytes=1000)) as (_, address):
        assert say(address, HEAD + CHUNKED, chunk(b" " * 1001))[0] == 413
        # Its client never sends the rest.
        assert say(address, HEAD + length(10**9), b" " * 1001)[0] == 413


def test_headers_without_end_are_refused() -> None:
    with listening(build_service(Oracle())) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000)
            assert connection.recv(12) == b"HTTP/1.1 400"


def test_a_slow_body_is_not_waited_for() -> None:
    with listening(build_service(Oracle(), timeout_s=0.1)) as (_, address):
        assert say(address, HEAD + length(100), BODY)[0] == 408


def seconds_until_closed(address: str, first: bytes, trickle: bytes) -> float:
    """What a client gets who goes on sending a byte at a time, 20 s at most."""
    host, port = address.removeprefix("http://").split(":")
    start = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=0.05) as connection:
        connection.sendall(first)
        while time.monotonic() < start + 20:
            try:
                connection.sendall(trickle)
                if not connection.recv(10_000):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("first", "trickle"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(b"GET /health HTTP/1.1\r\nX: ", b"x", id="headers"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\nGET /health", b"x", id="headers of the second"),
        pytest.param(HEAD + length(10**6) + b"{", b" ", id="the rest of a body that was too slow"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: here\r\n" + length(10**6), b" ", id="a body for nothing"),
    ],
)
def test_a_slow_client_keeps_no_connection(first: bytes, trickle: bytes) -> None:
    with listening(build_service(Oracle(), timeout_s=0.3)) as (_, address):
        assert 0.25 < seconds_until_closed(address, first, trickle) < 10


def test_a_connection_is_kept_as_long_as_its_requests_come_whole() -> None:
    with (
        listening(build_service(Oracle(), timeout_s=1)) as (_, address),
        closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)) as connection,
    ):
        connection.connect()
        first = connection.sock
        for _ in range(3):
            connection.request("POST", "/predict", BODY, {"content-type": "application/json"})
            assert connection.getresponse().read()
            time.sleep(0.6)
        assert connection.sock is first


@pytest.mark.parametrize(("trusted", "statuses"), [(("127.0.0.1",), [200, 200, 429]), ((), [200, 429, 429])])
def test_only_a_trusted_proxy_says_who_asks(trusted: tuple[str, ...], statuses: list[int]) -> None:
    service = build_service(Oracle(), rate=0.001, burst=1, trusted_proxies=trusted)
    with listening(service) as (_, address):
        clients = (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1")
        heads = (HEAD + b"X-Forwarded-For: " + client + b"\r\n" + length(len(BODY)) for client in clients)
        assert [say(address, head + BODY)[0] for head in heads] == statuses


def test_at_the_end_what_is_under_way_is_answered() -> None:
    oracle = Oracle()
    service = build_service(oracle)
    with listening(service) as (server, address):
        oracle.gate.clear()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(HEAD + length(len(BODY)) + BODY)
            assert oracle.started.wait(20)
            server.handle_exit(signal.SIGTERM, None)
            # The port stays open: at once, and when uvicorn, which looks ten times a second, has seen the signal.
            for _ in range(2):
                assert say(address, HEAD + length(len(BODY)) + BODY) == (503, {"detail": "the server is stopping"})
                assert say(address, b"GET /ready HTTP/1.1\r\nHost: here\r\n\r\n")[0] == 503
                time.sleep(0.3)
            oracle.gate.set()
            with closing(http.client.HTTPResponse(connection)) as response:
                response.begin()
                assert (response.status, json.loads(response.read())) == (200, [as_json("glad")])
    assert service.num_under_way == 0


def test_a_second_interruption_waits_for_nothing() -> None:
    with listening(build_service(Oracle())) as (server, _):
        server.handle_exit(signal.SIGINT, None)
        assert not server.force_exit
        server.handle_exit(signal.SIGINT, None)
        assert server.force_exit


def test_a_server_whose_model_cannot_be_loaded_ends() -> None:
    def load() -> Oracle:
        raise OSError("no such file")

    service = build_service(Oracle(), load=load)
    with pytest.raises(OSError, match="no such file"), socket.create_server(("127.0.0.1", 0)) as listener:
        run_server(build_app(service, name="broken"), service, listener)
