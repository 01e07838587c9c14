"""Whether a URL answers, asked once and briefly, before anything counts on it."""

import urllib.request

OK = range(200, 400)


def answers(url: str, timeout_s: float) -> bool:
    """Whether a HEAD request comes back well; through the environment's proxy, if there is one.

    Args:
        url: http or https.
        timeout_s: of each of its parts: connecting, and waiting for a byte.
    """
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - of our own URLs
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return answer.status in OK
    except OSError:
        return False
