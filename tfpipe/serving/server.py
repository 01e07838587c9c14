"""The server as a process: it answers what is under way before it ends."""

import asyncio
import multiprocessing
import signal
import socket
from math import ceil
from types import FrameType

import uvicorn
from fastapi import FastAPI

from tfpipe.serving.connections import connection_type
from tfpipe.serving.service import Service

POLL_S = 0.02


class Server(uvicorn.Server):
    """Ends in order.

    On SIGTERM or Ctrl-C `/ready` says 503, no request is taken any more, those under way are answered, and only then
    the port is closed. A second Ctrl-C waits for no request.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Unlike uvicorn's own, which raises the signal again at the end: to be told to end is no failure."""
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True
        self._service.close()

    async def on_tick(self, counter: int) -> bool:
        """Also end when the model could not be loaded, or this is a worker whose parent has gone."""
        parent = multiprocessing.parent_process()
        alone = parent is not None and not parent.is_alive()
        return await super().on_tick(counter) or self._service.failure is not None or alone

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer first; no request takes longer than its time."""
        self._service.close()
        while self._service.num_under_way and not self.force_exit:
            await asyncio.sleep(POLL_S)
        await super().shutdown(sockets)


def build_server(app: FastAPI, service: Service) -> Server:
    """The server of a service's app."""
    settings = service.settings
    config = uvicorn.Config(
        app,
        log_config=None,
        # Paths may hold what nobody wants in a log.
        access_log=False,
        # With h11, which ends a connection whose headers are too long; httptools is a fifth faster, and takes any.
        http=connection_type(settings.timeout_s),
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=ceil(settings.timeout_s),
    )
    return Server(config, service)


def run_server(app: FastAPI, service: Service, listener: socket.socket) -> None:
    """Serve until told to end.

    Args:
        app: of the service.
        service: the model at work.
        listener: bound.

    Raises:
        Exception: that loading the model raised.
        KeyboardInterrupt: after a second Ctrl-C.
    """
    server = build_server(app, service)
    server.run(sockets=[listener])
    if service.failure:
        raise service.failure
    if server.force_exit:
        raise KeyboardInterrupt
