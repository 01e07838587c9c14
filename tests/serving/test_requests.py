"""What is asked and answered over HTTP, and every way in which it is not."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from oracle import TOKEN, Oracle, as_json, build_service, client_of, predict, serving, until

from tfpipe.serving.app import build_app

JSON = {"content-type": "application/json"}


def ask(
    questions: Callable[[httpx2.AsyncClient], Awaitable[None]],
    oracle: Oracle | None = None,
    token: str | None = None,
    **settings: Any,
) -> Oracle:
    """Run some questions against a server of their own."""
    oracle = oracle or Oracle()

    async def run() -> None:
        async with serving(build_service(oracle, **settings), token) as client:
            await questions(client)

    asyncio.run(run())
    return oracle


def test_texts_are_answered_in_order() -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        response = await predict(client, "glad", "ß 語 \0", "glad")
        assert response.status_code == 200
        assert response.json() == [as_json("glad"), as_json("ß 語 \0"), as_json("glad")]
        assert list(response.json()[0]["probs"]) == list(as_json("glad")["probs"])

    ask(questions)


def test_of_many_classes_the_likeliest_are_told() -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        (answer,) = (await predict(client, "glad")).json()
        assert list(answer["probs"].items()) == list(as_json("glad")["probs"].items())[:2]

    ask(questions, max_probs=2)


@pytest.mark.parametrize(
    ("body", "status", "loc"),
    [
        (b"", 422, ["body"]),
        (b"{", 422, ["body"]),
        (b"\xff\xfe", 422, ["body"]),
        (b"[" * 100_000, 422, ["body"]),
        (b"null", 422, ["body"]),
        (b'["a"]', 422, ["body"]),
        (b"{}", 422, ["body", "inputs"]),
        (b'{"inputs": "a"}', 422, ["body", "inputs"]),
        (b'{"inputs": []}', 422, ["body", "inputs"]),
        (b'{"inputs": ["a"], "more": 1}', 422, ["body", "more"]),
        (b'{"inputs": ["a", 1]}', 422, ["body", "inputs", 1]),
        (b'{"inputs": ["a", null]}', 422, ["body", "inputs", 1]),
        (b'{"inputs": ["a", ""]}', 422, ["body", "inputs", 1]),
        (b'{"inputs": [" \\n\\t"]}', 422, ["body", "inputs", 0]),
        (b'{"inputs": [NaN]}', 422, ["body", "inputs", 0]),
        (b'{"inputs": ["\\ud800"]}', 422, ["body"]),
        (b'{"inputs": ["' + b"x" * 21 + b'"]}', 422, ["body", "inputs", 0]),
        (b'{"inputs": ["a", "b", "c", "d", "e"]}', 422, ["body", "inputs"]),
        (b'{"inputs": ["' + b"x" * 300 + b'"]}', 413, None),
    ],
)
def test_what_cannot_be_judged_is_told_where(body: bytes, status: int, loc: list[Any] | None) -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        response = await client.post("/predict", content=body, headers=JSON)
        assert response.status_code == status
        if loc:
            assert response.json()["detail"][0]["loc"] == loc

    settings = {"max_chars": 20, "max_batch": 4, "max_body_bytes": 300 if len(body) < 1000 else 200_000}
    assert ask(questions, **settings).calls == []


def test_what_is_wrong_is_told_without_what_was_sent() -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        for body in ('{"inputs": [["private"]]}', '{"inputs": ["private"', '{"inputs": "private"}'):
            response = await client.post("/predict", content=body, headers=JSON)
            assert response.status_code == 422
            assert "private" not in response.text
        many = {"inputs": list(range(64)), "k" * 5000: 1}
        response = await client.post("/predict", json=many)
        assert len(response.json()["detail"]) == 10
        assert len(response.text) < 3000

    ask(questions)


def test_a_body_is_read_no_further_than_allowed_whatever_its_headers_say() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"inputs": ["'
        while True:
            sent += 1
            yield b"x" * 1000

    async def questions(client: httpx2.AsyncClient) -> None:
        response = await client.post("/predict", content=endless(), headers=JSON)
        assert response.status_code == 413

    ask(questions, max_body_bytes=10_000)
    assert sent < 20


def test_a_body_that_is_no_json_by_its_type_is_refused() -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            response = await client.post("/predict", content=b'{"inputs": ["a"]}', headers={"content-type": kind})
            assert response.status_code == 415
        given = {"content-type": "Application/JSON; charset=utf-8"}
        assert (await client.post("/predict", content=b'{"inputs": ["a"]}', headers=given)).status_code == 200

    ask(questions)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b'{"inputs"'
        await asyncio.sleep(3600)

    async def questions(client: httpx2.AsyncClient) -> None:
        assert (await client.post("/predict", content=stuck(), headers=JSON)).status_code == 408

    ask(questions, timeout_s=0.05)


def test_a_queue_without_room_says_when_to_come_back() -> None:
    oracle = Oracle()

    async def questions(client: httpx2.AsyncClient) -> None:
        oracle.gate.clear()
        first = asyncio.create_task(predict(client, "a", "b", "c"))
        await until(oracle.started.is_set)
        refused = await predict(client, "d", "e")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        last = asyncio.create_task(predict(client, "f"))
        await until(lambda: oracle.calls and last and not last.done())
        while (await client.get("/ready")).status_code != 503:
            await asyncio.sleep(0)
        assert (await predict(client, "g")).status_code == 503
        oracle.gate.set()
        assert (await first).status_code == (await last).status_code == 200
        assert (await client.get("/ready")).status_code == 200
        assert (await predict(client, "g")).json() == [as_json("g")]

    ask(questions, oracle, queue_size=4, max_batch=4)
    assert oracle.asked == list("abcfg")


def test_more_requests_than_may_be_under_way_are_refused() -> None:
    oracle = Oracle()

    async def questions(client: httpx2.AsyncClient) -> None:
        oracle.gate.clear()
        two = [asyncio.create_task(predict(client, name)) for name in "ab"]
        await until(oracle.started.is_set)
        while (await client.get("/ready")).status_code != 503:
            await asyncio.sleep(0)
        assert (await predict(client, "c")).status_code == 503
        oracle.gate.set()
        assert [(await one).status_code for one in two] == [200, 200]

    ask(questions, oracle, max_requests=2)


def test_what_takes_too_long_is_given_up_and_not_computed() -> None:
    oracle = Oracle()

    async def questions(client: httpx2.AsyncClient) -> None:
        oracle.gate.clear()
        both = await asyncio.gather(predict(client, "begun"), predict(client, "not begun", "nor this"))
        assert [response.status_code for response in both] == [504, 504]
        assert (await client.get("/ready")).status_code == 200
        oracle.gate.set()
        async with asyncio.timeout(20):
            while (await predict(client, "later")).status_code != 200:
                pass

    ask(questions, oracle, batch_size=1, timeout_s=0.2)
    assert oracle.asked[0] == "begun"
    assert not {"not begun", "nor this"} & set(oracle.asked)


def test_a_client_asks_as_often_as_its_bucket_has_tokens() -> None:
    async def run() -> None:
        service = build_service(Oracle(), rate=0.001, burst=3)
        async with serving(service) as client:
            app = client._transport.app  # type: ignore[attr-defined]
            assert [(await predict(client, "a")).status_code for _ in range(3)] == [200] * 3
            refused = await predict(client, "a")
            assert refused.status_code == 429
            assert 900 < int(refused.headers["retry-after"]) <= 1000
            assert (await client.get("/metrics")).status_code == 429
            assert (await client.get("/health")).status_code == (await client.get("/ready")).status_code == 200
            async with client_of(app, "192.0.2.2") as other:
                assert (await predict(other, "a")).status_code == 200

    asyncio.run(run())


def test_without_the_token_nothing_is_answered_but_how_the_server_is() -> None:
    oracle = Oracle()

    async def questions(client: httpx2.AsyncClient) -> None:
        for given in ({}, {"authorization": TOKEN}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer ü"},
                      {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer"}):  # fmt: skip
            raw = {name: value.encode() for name, value in given.items()}
            for path in ("/metrics", "/openapi.json", "/nowhere"):
                assert (await client.get(path, headers=raw)).status_code == 401
            response = await client.post("/predict", json={"inputs": ["a"]}, headers=raw)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/health")).status_code == (await client.get("/ready")).status_code == 200
        given = {"authorization": f"bearer {TOKEN}"}
        assert (await client.post("/predict", json={"inputs": ["a"]}, headers=given)).status_code == 200

    assert ask(questions, oracle, token=TOKEN).asked == ["a"]


def test_a_model_that_fails_is_told_without_the_input(caplog: pytest.LogCaptureFixture) -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        failed = await predict(client, "a", "secret that breaks the model")
        assert (failed.status_code, failed.json()) == (500, {"detail": "the model failed"})
        assert (await predict(client, "no number")).status_code == 500
        assert (await predict(client, "unreadable")).status_code == 422
        assert (await predict(client, "b")).json() == [as_json("b")]

    with caplog.at_level(logging.DEBUG):
        ask(questions)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("kept", [False, True])
def test_texts_are_logged_only_where_settings_say_so(kept: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def questions(client: httpx2.AsyncClient) -> None:
        await predict(client, "my diary")
        await client.post("/predict?text=my+diary", content=b'{"my diary":', headers=JSON)
        await client.get("/my diary")

    with caplog.at_level(logging.DEBUG):
        ask(questions, log_inputs=kept)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]
    told = [line for line in ours if "diary" in line]
    expected = {key: value for key, value in as_json("my diary").items() if key != "probs"}
    assert [json.loads(line) for line in told] == ([{"input": "my diary"} | expected] if kept else [])


def test_until_the_model_is_loaded_and_from_the_end_on_nothing_is_taken() -> None:
    oracle = Oracle()

    def load() -> Oracle:
        oracle.started.set()
        oracle.gate.wait(20)
        return oracle

    async def run() -> None:
        service = build_service(oracle, load=load)
        oracle.gate.clear()
        app = build_app(service, name="oracle")
        async with app.router.lifespan_context(app), client_of(app) as client:
            await until(oracle.started.is_set)
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/ready")).status_code == 503
            assert (await predict(client, "early")).status_code == 503
            oracle.gate.set()
            await until(lambda: service.why_not_ready is None)
            assert (await predict(client, "a")).status_code == 200
            service.close()
            assert (await client.get("/ready")).json() == {"state": "the server is stopping"}
            assert (await predict(client, "late")).status_code == 503

    asyncio.run(run())
    assert oracle.asked == ["a"]


def test_a_model_that_cannot_be_loaded_is_remembered() -> None:
    def load() -> Oracle:
        raise OSError("no such file")

    async def run() -> None:
        service = build_service(Oracle(), load=load)
        async with service.running():
            await until(lambda: service.failure is not None)
        assert str(service.failure) == "no such file"
        assert service.why_not_ready

    asyncio.run(run())
