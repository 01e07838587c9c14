"""Settings of `serve`."""

from typing import Annotated

from pydantic import Field, model_validator

from tfpipe.core.settings.base import Count, Positive, Section


class ServeSettings(Section):
    """Answers over HTTP: how they are batched, and what may be asked."""

    workers: Count = 1
    """Processes that share the port, each with a model, a queue and limits of its own. One that is killed takes only
    its own requests along, and is started again. Of several, none takes connections before its model is loaded."""
    batch_size: Count = 32
    """Inputs of one call of the model, of however many requests."""
    max_delay_ms: Annotated[float, Field(ge=0)] = 5.0
    """How long an input waits for others to fill the batch, while the model has nothing else to do."""
    queue_size: Count = 256
    """Inputs that are admitted and not yet answered; a request that there is no room for gets 503."""
    timeout_s: Positive = 10.0
    """Of one request, from the end of its headers to its answer: 504, or 408 if its body has not come by then. Its
    headers have as long: then the connection is closed."""
    max_requests: Count = 256
    """Requests under way at a time; more get 503. With `max_body_bytes` it bounds the memory that bodies take."""
    max_batch: Count = 64
    """Inputs of one request."""
    max_body_bytes: Count = 8 * 2**20
    """Of one request's JSON; photos stand in it as base64, a third longer than their files."""
    max_chars: Count = 10_000
    """Of one text."""
    max_photo_bytes: Count = 5 * 2**20
    """Of one photo, as a file."""
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)] = 50_000_000
    """Of one photo, decoded: more is a decompression bomb."""
    max_probs: Count = 100
    """The likeliest classes of an answer whose probabilities are told."""
    rate: Positive | None = 50.0
    """Requests a second of one client, that is of an IPv4 address or an IPv6 network /64; unset, as many as come."""
    burst: Count = 100
    """Requests that a client may make at once, after a rest."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `X-Forwarded-For` says who the client is; of all others it is ignored."""
    token_env: str | None = None
    """The environment's variable with the token that clients must send (`Authorization: Bearer …`); unset, none."""
    log_inputs: bool = False
    """Write texts, and the hashes of photos, with their answers to standard error; otherwise none is kept."""
    drift_window: Count = 1000
    """The last answers that are compared with those of the validation split."""

    @model_validator(mode="after")
    def _has_room(self) -> "ServeSettings":
        if self.max_batch > self.queue_size:
            raise ValueError(
                f"max_batch is {self.max_batch}, and queue_size {self.queue_size}: a whole request must fit"
            )
        return self
