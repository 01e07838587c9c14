"""The paths of the server, each with every status that it may answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from tfpipe import __version__
from tfpipe.serving.guard import Guard
from tfpipe.serving.limits import RateLimit
from tfpipe.serving.questions import (
    Answered,
    Faults,
    Problem,
    Question,
    State,
    build_question,
    to_answers,
    to_faults,
)
from tfpipe.serving.service import Service

JSON = "application/json"


def build_app(service: Service, *, name: str, token: str | None = None) -> FastAPI:
    """The server of one model, as ASGI has it.

    Args:
        service: the model at work; the app starts and stops it.
        name: of the model.
        token: that clients must send; None lets all in.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    settings = service.settings
    # No pages of documentation: they would load their scripts from elsewhere.
    app = FastAPI(
        title=f"tfpipe: {name}",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    rate_limit = RateLimit(settings.rate, settings.burst) if settings.rate else None
    app.add_middleware(Guard, metrics=service.metrics, token=token, rate_limit=rate_limit)
    _add_predict(app, service, has_token=token is not None)
    _add_state(app, service, has_token=token is not None)
    return app


def _add_predict(app: FastAPI, service: Service, *, has_token: bool) -> None:
    question, settings = build_question(service.task, service.settings), service.settings

    @app.post(
        "/predict",
        summary="Judge texts." if service.task == "text" else "Judge photos, given as base64.",
        response_model=list[Answered],
        responses={
            **_problems(401, 408, 413, 415, 429, 500, 503, 504),
            422: {"model": Faults, "description": "The request is not as it must be, or a photo cannot be read"},
        },
        dependencies=_token_shown(has_token),
        openapi_extra={"requestBody": {"content": {JSON: {"schema": question.model_json_schema()}}, "required": True}},
    )
    async def predict(request: Request) -> Response:
        with service.under_way():
            deadline = asyncio.get_running_loop().time() + settings.timeout_s
            body = await _read_body(request, settings.max_body_bytes, deadline)
            inputs = _read_inputs(body, question)
            try:
                async with asyncio.timeout_at(deadline):
                    answers = await service.answer(inputs)
            except TimeoutError:
                raise HTTPException(504, "not answered in time") from None
            return Response(to_answers(answers, settings.max_probs), media_type=JSON)


def _add_state(app: FastAPI, service: Service, *, has_token: bool) -> None:
    @app.get("/health", summary="Whether the process lives.", response_model=State)
    async def health() -> Response:
        return JSONResponse({"state": "alive"})

    @app.get(
        "/ready",
        summary="Whether a request would be answered now.",
        response_model=State,
        responses={503: {"model": State, "description": "Not now: loading, stopping, or full"}},
    )
    async def ready() -> Response:
        reason = service.why_not_ready
        return JSONResponse({"state": reason or "ready"}, 503 if reason else 200)

    @app.get(
        "/metrics",
        summary="Counters and drift, for Prometheus.",
        response_class=Response,
        responses={**_problems(401, 429), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        dependencies=_token_shown(has_token),
    )
    async def metrics() -> Response:
        return Response(service.tell_metrics(), media_type=CONTENT_TYPE_LATEST)


async def _read_body(request: Request, max_bytes: int, deadline: float) -> bytearray:
    """Never more of it than is allowed, whatever its headers say.

    Raises:
        HTTPException: 408, 413 or 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise HTTPException(415, f"expected {JSON}")
    body = bytearray()
    try:
        async with asyncio.timeout_at(deadline):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    raise HTTPException(413, f"a body of more than {max_bytes} bytes")
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(408, "the body has not come in time") from None
    return body


def _read_inputs(body: bytearray, question: type[Question]) -> list[str]:
    """Of a request.

    Raises:
        HTTPException: 422, which quotes nothing of what was sent but the names of keys.
    """
    try:
        return question.model_validate_json(body).inputs
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise HTTPException(422, to_faults(errors)) from None


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI."""
    return {
        status: {"model": Problem, "description": PROBLEMS[status], "headers": HEADERS.get(status, {})}
        for status in statuses
    }


def _token_shown(has_token: bool) -> list[Any]:
    """For OpenAPI alone: `Guard` looks at it."""
    return [Security(HTTPBearer(auto_error=False))] if has_token else []


PROBLEMS = {
    401: "No valid token",
    408: "The body has not come in time",
    413: "The body is too large",
    415: "The body is no JSON by its content type",
    429: "Too many requests of this client",
    500: "The model failed",
    503: "Not now: loading, stopping, or full",
    504: "Not answered in time",
}
SOON = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}}
HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "What to send", "schema": {"type": "string"}}},
    429: SOON,
    503: SOON,
}
