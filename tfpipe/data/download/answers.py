"""What became of a URL: one of twelve reasons, and what is known of the image."""

from dataclasses import dataclass, fields
from enum import StrEnum


class Reason(StrEnum):
    """How it ended. Each row has exactly one; all but the first two are failures."""

    LOCAL = "local"
    """The row has its own file, or is a text: there was nothing to ask for."""
    OK = "ok"
    BAD_URL = "bad_url"
    """No URL, or none that can be asked for."""
    REFUSED = "refused"
    """The address is private, link-local or the like, and `fetch.allow_hosts` does not name the host."""
    UNREACHABLE = "unreachable"
    """No such host, no connection, no valid certificate, or a host that was given up."""
    TIMEOUT = "timeout"
    HTTP_ERROR = "http_error"
    """The status says which: 404 and its like at once, 429 and 5xx after all retries."""
    REDIRECTS = "redirects"
    """In a circle, too many, or to nowhere."""
    TOO_LARGE = "too_large"
    """More bytes than `fetch.max_bytes`, or more pixels than `fetch.max_pixels`."""
    NOT_A_PHOTO = "not_a_photo"
    """Something else than one still image: a web page, an animation."""
    BROKEN = "broken"
    """Empty, cut short, or an image that does not decode."""
    TOO_SMALL = "too_small"
    """A side shorter than `audit.min_side`."""


@dataclass(frozen=True)
class Answer:
    """What one URL gave."""

    reason: Reason
    detail: str = ""
    """Which of the reason's cases it was, in a few words."""
    status: int | None = None
    location: str = ""
    """Where a redirect led from here."""
    path: str = ""
    """Of the kept image, below the images' folder."""
    sha256: str = ""
    num_bytes: int = 0
    """Of the image as it is kept."""
    short_side: int = 0
    """Of the image as it came, in pixels."""
    reencode_side: int | None = None
    """The setting with which it was kept."""
    etag: str = ""
    last_modified: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether an image came."""
        return self.reason is Reason.OK


ANSWER_FIELDS = tuple(field.name for field in fields(Answer))
