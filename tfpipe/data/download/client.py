"""One request: its answer, and whether asking again may end better. Redirects are told, not followed."""

import errno
import os
import socket
import ssl
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Self

import aiohttp
from yarl import URL

from tfpipe import __version__
from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.settings import FetchSettings
from tfpipe.data.download.addresses import Guard, Link, RefusedError
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.inbox import Inbox, Tray

NO_SUCH_HOST = "no such host"
NOT_MODIFIED = 304
TOO_MANY_REQUESTS = 429
REDIRECTS = (301, 302, 303, 307, 308)
MAY_PASS = (408, 425, TOO_MANY_REQUESTS)
"""Of 4xx: too slow, too early, too many. And all 5xx."""

IDLE_CONNECTION_S = 5.0
NAMES_KEPT_S = 60


@dataclass(frozen=True)
class Reply:
    """What came of one request."""

    answer: Answer
    may_pass: bool = False
    """Whether the trouble may be over when asked again."""
    retry_after_s: float | None = None
    """The patience that the host asks for."""
    body: Tray | None = None
    """For `content` to judge."""


class Client:
    """Connections to all hosts; an async context manager."""

    def __init__(self, settings: FetchSettings, inbox: Inbox):
        self._settings = settings
        self._inbox = inbox

    async def __aenter__(self) -> Self:
        self._guard = Guard(self._settings.allow_hosts)
        # How many requests run at a time is settled by `hosts`.
        connector = aiohttp.TCPConnector(
            limit=0, resolver=self._guard, ttl_dns_cache=NAMES_KEPT_S, keepalive_timeout=IDLE_CONNECTION_S
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": user_agent(self._settings.contact),
                "Accept": "image/*, */*;q=0.1",
                "Accept-Encoding": "identity",
            },
            timeout=aiohttp.ClientTimeout(
                total=self._settings.total_timeout_s,
                connect=self._settings.connect_timeout_s,
                sock_read=self._settings.read_timeout_s,
            ),
        )
        # It would ask again by itself for what failed, outside the host's turn.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._guard.close()

    async def ask(self, link: Link, known: Answer | None) -> Reply:
        """Ask for a URL, once.

        Args:
            link: what to ask for.
            known: an earlier answer whose image stands; it is sent again only if it has changed.

        Raises:
            EnvironmentProblemError: when this machine is in trouble, not the other: disk full, too many open files.
        """
        try:
            self._guard.check_number(link.host)
            url = URL(link.url, encoded=True)
            async with self._session.get(url, headers=_conditions(known), allow_redirects=False) as response:
                if response.status == NOT_MODIFIED and known:
                    return Reply(replace(known, detail=""))
                if response.status in REDIRECTS and "Location" in response.headers:
                    location = response.headers["Location"]
                    return Reply(Answer(Reason.REDIRECTS, status=response.status, location=location))
                if response.status >= 300:
                    return _error_status(response)
                return await self._receive(link, response)
        except (RefusedError, aiohttp.ClientError, OSError) as error:
            return _failure(error)

    async def _receive(self, link: Link, response: aiohttp.ClientResponse) -> Reply:
        headers = response.headers
        came = Answer(
            Reason.OK,
            status=response.status,
            etag=headers.get("ETag", ""),
            last_modified=headers.get("Last-Modified", ""),
        )
        limit = self._settings.max_bytes
        too_large = Reply(Answer(Reason.TOO_LARGE, status=response.status, detail="bytes"))
        if (response.content_length or 0) > limit:
            response.close()
            return too_large
        with self._inbox.receive(link.url, came) as tray:
            try:
                async for chunk in response.content.iter_any():
                    if tray.num_bytes + len(chunk) > limit:
                        response.close()
                        return too_large
                    tray.add(chunk)
            except TimeoutError:
                raise
            except (aiohttp.ClientError, OSError):
                return Reply(Answer(Reason.BROKEN, status=response.status, detail="cut short"), may_pass=True)
            tray.finish()
            return Reply(came, body=tray)


def user_agent(contact: str) -> str:
    """Who asks, and how to reach them."""
    return f"tfpipe/{__version__}" + (f" (+{contact})" if contact else "")


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (of the epoch), given as such or as an HTTP date; None if it is neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _conditions(known: Answer | None) -> dict[str, str]:
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known else {}
    return {name: value for name, value in conditions.items() if value}


def _error_status(response: aiohttp.ClientResponse) -> Reply:
    return Reply(
        Answer(Reason.HTTP_ERROR, status=response.status),
        may_pass=response.status in MAY_PASS or response.status >= 500,
        retry_after_s=parse_retry_after(response.headers.get("Retry-After", ""), time.time()),
    )


def _failure(error: Exception) -> Reply:
    number = getattr(error, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE):
        raise EnvironmentProblemError(
            "too many open files for this process. Lower `fetch.concurrency`, or raise the limit with `ulimit -n`."
        )
    if isinstance(error, RefusedError):
        return Reply(Answer(Reason.REFUSED, detail=str(error)))
    if isinstance(error, aiohttp.InvalidURL):
        return Reply(Answer(Reason.BAD_URL))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        final = number in (socket.EAI_NONAME, socket.EAI_NODATA)
        detail = NO_SUCH_HOST if final else "no answer from the name server"
        return Reply(Answer(Reason.UNREACHABLE, detail=detail), may_pass=not final)
    if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        return Reply(Answer(Reason.TIMEOUT), may_pass=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reply(Answer(Reason.UNREACHABLE, detail="no valid certificate"))
    detail = os.strerror(number).lower() if number else "no answer"
    return Reply(Answer(Reason.UNREACHABLE, detail=detail), may_pass=True)
