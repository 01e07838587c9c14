"""How long which host will take, told beside the bar."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tfpipe.core.progress import Advance, duration

NOTE_EVERY_S = 1.0
SLOWEST = 3


@dataclass
class Course:
    """How far one host's URLs are."""

    left: int
    began_at: float
    done: int = 0


class Watch:
    """Counts answers host by host, and names the hosts that will take longest."""

    def __init__(self, advance: Advance, per_host_rate: float, *, clock: Callable[[], float] = time.monotonic):
        self._advance = advance
        self._rate = per_host_rate
        self._clock = clock
        self._courses: dict[str, Course] = {}
        self._note = ""
        self._noted_at = clock()

    def begin(self, host: str, urls: int) -> None:
        """So many URLs of this host are to be asked."""
        self._courses[host] = Course(urls, self._clock())

    def end(self, host: str) -> None:
        """None is left."""
        del self._courses[host]

    def count(self, host: str) -> None:
        """One is answered."""
        course = self._courses[host]
        course.done += 1
        course.left -= 1
        if self._clock() - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = self._clock()
            hosts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.slowest())
            self._note = f"slowest: {hosts}" if hosts else ""
        self._advance(1, self._note)

    def slowest(self) -> list[tuple[str, float]]:
        """Hosts with the seconds they will take at their pace so far, the longest first."""
        seconds = {host: self._seconds_left(course) for host, course in self._courses.items() if course.left}
        return sorted(seconds.items(), key=lambda item: -item[1])[:SLOWEST]

    def _seconds_left(self, course: Course) -> float:
        at_the_limit = course.left / self._rate
        pace_s = (self._clock() - course.began_at) / course.done if course.done else 0.0
        return max(at_the_limit, pace_s * course.left)
