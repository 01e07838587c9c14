"""What OpenAPI says is what happens, also for those who mean no good."""

import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import TOKEN, Oracle, build_service, listening
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tfpipe.core.settings import Task
from tfpipe.serving.app import build_app


def document_of(task: Task = "text", token: str | None = None) -> dict[str, Any]:
    return build_app(build_service(Oracle(), task), name="oracle", token=token).openapi()


def test_it_names_the_limits_that_are_held() -> None:
    limits = build_service(Oracle()).settings
    (content,) = document_of()["paths"]["/predict"]["post"]["requestBody"]["content"].values()
    inputs = content["schema"]["properties"]["inputs"]
    assert (inputs["minItems"], inputs["maxItems"]) == (1, limits.max_batch)
    assert (inputs["items"]["minLength"], inputs["items"]["maxLength"]) == (1, limits.max_chars)
    assert content["schema"]["additionalProperties"] is False


def test_every_status_of_the_code_is_declared() -> None:
    declared = set(document_of()["paths"]["/predict"]["post"]["responses"])
    assert declared == {"200", "401", "408", "413", "415", "422", "429", "500", "503", "504"}
    for operation in document_of()["paths"].values():
        for method in operation.values():
            for status, response in method["responses"].items():
                assert response["description"]
                assert status == "200" or response["content"]["application/json"]["schema"]


def test_a_token_is_shown_where_one_is_needed() -> None:
    assert "securitySchemes" not in document_of().get("components", {})
    with_token = document_of(token=TOKEN)
    assert with_token["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert {path for path, item in with_token["paths"].items() for one in item.values() if "security" in one} == {
        "/predict",
        "/metrics",
    }


@pytest.mark.parametrize("task", ["text", "image"])
def test_a_fuzzer_meets_no_status_and_no_body_that_are_not_declared(task: Task) -> None:
    """Some hundred requests, right and wrong, over all paths; the answers are checked against the document."""
    seen: set[tuple[str, int]] = set()
    service = build_service(Oracle(), task, max_chars=50, max_batch=4, max_pixels=10_000)
    with listening(service) as (_, address), requests.Session() as session:
        for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations():
            operation = found.ok()
            right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

            @settings(max_examples=200, deadline=None, database=None, derandomize=True,
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=right | wrong)
            def fuzz(case: Case) -> None:
                # A photo that is none cannot be told from one by a schema.
                excluded = [positive_data_acceptance] if task == "image" else []
                response = case.call_and_validate(session=session, excluded_checks=excluded)
                seen.add((case.path, response.status_code))

            fuzz()
    assert {("/predict", 422), ("/metrics", 200), ("/health", 200), ("/ready", 200)} <= seen
    assert task == "image" or ("/predict", 200) in seen
    assert max(status for _, status in seen) < 500


SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON_VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def test_no_body_and_no_header_make_the_server_fail() -> None:
    """What a schema would not think of: bytes, cut JSON, NaN, halves of characters."""
    seen: set[int] = set()
    kinds = st.sampled_from(["application/json", "application/json; charset=utf-16", "text/plain", ""])
    bodies = st.binary() | JSON_VALUES.map(json.dumps) | JSON_VALUES.map(lambda one: json.dumps({"inputs": [one]})[:-1])
    with listening(build_service(Oracle(), max_body_bytes=200)) as (_, address), requests.Session() as session:

        @settings(max_examples=300, deadline=None, database=None, derandomize=True)
        @given(body=bodies, kind=kinds)
        def fuzz(body: str | bytes, kind: str) -> None:
            content = body.encode() if isinstance(body, str) else body
            response = session.post(f"{address}/predict", data=content, headers={"content-type": kind})
            seen.add(response.status_code)
            assert response.json()["detail"]

        fuzz()
        assert session.post(f"{address}/predict/", allow_redirects=False).status_code == 404
    assert seen == {413, 415, 422}
