"""What a command will do, told before it is done: which steps run, why, and for how long."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tfpipe.core.progress import duration
from tfpipe.core.states import NEVER, read_state, why_stale
from tfpipe.core.steps import Node

FORCED = "as you asked"
FOLLOWS = "follows, if those change"


@dataclass(frozen=True)
class Plan:
    """The steps of a command in their order, and why those that run do."""

    nodes: tuple[Node, ...]
    reasons: dict[str, str]
    """Title of a step that will run, or may, since one it needs will → why."""

    @property
    def stale(self) -> list[Node]:
        """The steps that will run, or may."""
        return [node for node in self.nodes if node.title in self.reasons]

    @property
    def forced(self) -> set[str]:
        """Titles of the steps that run, up to date or not."""
        return {title for title, reason in self.reasons.items() if reason == FORCED}

    def told(self) -> str:
        """A line for each reason, and how long it all takes, as far as earlier runs tell."""
        groups: dict[str, list[str]] = {}
        for node in self.nodes:
            reason = self.reasons.get(node.title)
            seconds = _seconds(node) if reason else None
            title = node.title if seconds is None else f"{node.title} {duration(seconds)}"
            groups.setdefault(reason or "up to date", []).append(title)
        lines = [f"{reason}: {' · '.join(titles)}" for reason, titles in groups.items()]
        return "\n".join([*lines, *self._whole()])

    def left(self, done: Node) -> str:
        """How long what comes after a step takes, if earlier runs tell."""
        after = self.nodes[self.nodes.index(done) + 1 :]
        known = [_seconds(node) for node in after if node.title in self.reasons]
        seconds = [each for each in known if each is not None]
        if not seconds:
            return ""
        least = "about" if len(seconds) == len(known) else "more than"
        return f" · {least} {duration(sum(seconds))} left"

    def _whole(self) -> list[str]:
        known = [_seconds(node) for node in self.stale]
        seconds = [each for each in known if each is not None]
        if len(known) < 2 or not seconds:
            return []
        return [f"{'about' if len(seconds) == len(known) else 'more than'} {duration(sum(seconds))} in all"]


def make_plan(nodes: Sequence[Node], forced: Collection[str]) -> Plan:
    """Ask each step, those that are needed first, whether it is up to date; titles in `forced` are not."""
    reasons: dict[str, str] = {}
    for node in nodes:
        if node.title in forced:
            reasons[node.title] = FORCED
        elif any(need.title in reasons for need in node.needs):
            reasons[node.title] = FOLLOWS if read_state(node) else NEVER
        elif reason := why_stale(node):
            reasons[node.title] = reason
    return Plan(tuple(nodes), reasons)


def _seconds(node: Node) -> float | None:
    """Of the step's last run."""
    state = read_state(node)
    return float(state["seconds"]) if state else None
