"""Who may ask: what stands before every path but those by which a cluster sees whether the server lives."""

import hmac
import time
from math import ceil

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfpipe.serving.limits import RateLimit
from tfpipe.serving.metrics import Metrics

OPEN = ("/health", "/ready")
KNOWN = (*OPEN, "/predict", "/metrics", "/openapi.json")
"""Paths that metrics tell apart; whatever else clients think of is one."""


class Guard:
    """Asks for a token, holds clients to their rate, and counts what became of each request.

    Args:
        app: what is guarded.
        metrics: told of each request.
        token: that clients must send; None lets all in.
        rate_limit: None lets them ask as often as they like.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, token: str | None, rate_limit: RateLimit | None) -> None:
        self._app = app
        self._metrics = metrics
        self._token = token
        self._rate_limit = rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in KNOWN else "other"
        try:
            refusal = None if path in OPEN else self._refusal(scope)
            await (refusal or self._app)(scope, receive, watched)
        finally:
            self._metrics.count_request(path, status, time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """The rate first, so that nobody tries tokens in a row."""
        if self._rate_limit is not None:
            client = scope.get("client")
            wait_s = self._rate_limit.take(client[0] if client else "")
            if wait_s:
                return JSONResponse({"detail": "too many requests"}, 429, {"Retry-After": str(ceil(wait_s))})
        if self._token and not self._is_known(Headers(scope=scope).get("authorization", "")):
            return JSONResponse({"detail": "a valid token is needed"}, 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _is_known(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        given, wanted = token.strip().encode("latin-1"), str(self._token).encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given, wanted)
