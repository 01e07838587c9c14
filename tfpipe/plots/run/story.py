"""What the page of a run tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfpipe.core.page.markup import Html, together

Numbers = Mapping[str, Any]
"""Part of a step's `metrics.json`."""


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    title: str
    started: str
    """UTC."""
    seconds: float
    peak_memory_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Story:
    """A run. What it has not come to is empty, and has no chapter."""

    name: str
    things: str
    """What is judged: photos or texts."""
    verdict: str
    numbers: Sequence[tuple[str, str, str]]
    """Name, value and remark of what stands at the top."""
    waterfall: Sequence[Numbers]
    """As `verify` left it, from teacher to browser."""
    curves: Sequence[tuple[str, bytes]]
    """Title and PNG of each training."""
    calibration: Numbers
    """Of `calibrate`."""
    calibration_plots: Sequence[tuple[str, bytes]]
    backends: Mapping[str, Numbers]
    """Of `verify`."""
    split: Numbers
    """Of `split`."""
    findings: Sequence[Numbers]
    """Of `audit`, those that found something."""
    costs: Sequence[Cost]
    environment: Mapping[str, str | None]
    hashes: Sequence[tuple[str, str]]
    """Path and sha256 of what a person takes away."""
    settings: Mapping[str, str]
    """Name of a settings file → what it says, as YAML."""
    evaluation: Html = field(default_factory=together)
    """The chapters of `evaluate`."""
