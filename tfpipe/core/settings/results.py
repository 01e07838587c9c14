"""Settings of the steps that judge a model and bring it to a page."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tfpipe.core.settings.base import Count, Fraction, Precision, Section, SplitName


class EvaluateSettings(Section):
    """What to measure on."""

    split: SplitName = "test"
    many_above: Count = 100
    few_below: Count = 20
    """Training examples of a class above which it counts as many-shot, and below which as few-shot."""
    min_recall: Fraction = 0.6
    """Recall below which a class counts in `num_classes_below`; the plan wants every class above it."""
    views: Annotated[int, Field(ge=1, le=8)] = 1
    """Looks at each photo, whose probabilities are averaged: the plain one, its mirror image, then closer ones."""
    resamples: Count = 1000
    """Of the bootstrap that the 95 % intervals come from."""
    num_confusions: Annotated[int, Field(ge=0)] = 20
    """Most confused pairs of classes to show."""
    against: tuple[Path, ...] = ()
    """Settings files, relative to this one, of models to compare with this one, on the same photos."""


class ExportSettings(Section):
    """The page and its model."""

    precision: Precision = "float16"
    """How the page's weights are stored. float16 loses nothing; int8 takes half of its bytes, and some tenths of a
    point of top-1."""
    title: str = "What is in the picture?"
    description: str = ""
    num_examples: Annotated[int, Field(ge=0)] = 0
    """Test photos that the page offers for a try."""


class VerifySettings(Section):
    """The check in a real browser."""

    num_images: Count = 128
    """Test images to compare."""
    chromium: Path | None = None
    """The browser; unset, the first Chromium or Chrome on the path."""
