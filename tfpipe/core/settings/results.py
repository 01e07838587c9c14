"""Settings of the steps that judge a model and bring it to a page."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from tfpipe.core.settings.base import (
    Backend,
    Count,
    Fraction,
    Number,
    Positive,
    Precision,
    RegionChoice,
    Section,
    SetKind,
    SplitName,
)


class EvaluateSettings(Section):
    """What to measure on."""

    split: SplitName = "test"
    """What to measure on."""
    many_above: Count = 100
    """Training examples of a class above which it counts as many-shot."""
    few_below: Count = 20
    """Training examples of a class below which it counts as few-shot."""
    min_recall: Fraction = 0.6
    """Recall below which a class counts in `num_classes_below`; the plan wants every class above it."""
    views: Annotated[int, Field(ge=1, le=8)] = 1
    """Looks at each photo, whose probabilities are averaged: the plain one, its mirror image, then closer ones."""
    resamples: Count = 1000
    """Of the bootstrap that the 95 % intervals come from."""
    num_confusions: Number = 20
    """Most confused pairs of classes to show."""
    against: tuple[Path, ...] = ()
    """Settings files, relative to this one, of models to compare with this one, on the same photos."""


class CalibrateSettings(Section):
    """How sure the model may say that it is, and when it says nothing."""

    temperature: Literal["auto", "always", "never"] = "auto"
    """Whether to divide the logits by the fitted temperature; `auto`: if the validation ECE is above `max_ece`,
    and lower with it."""
    max_ece: Fraction = 0.1
    """Expected calibration error on validation up to which `auto` lets the logits be."""
    precision: Fraction = 0.95
    """Share of the answers that is to be right: the threshold is the smallest confidence with it on validation."""
    coverage: Fraction = 0.8
    """Share of the photos that is hoped to be answered."""
    min_answers: Count = 30
    """Validation photos that a threshold must leave: of fewer, chance decides how many are right."""
    sets: SetKind = "none"
    """Conformal prediction sets: one quantile, or one for each class with enough validation photos."""
    set_level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of the sets that is to hold the true class."""
    resamples: Count = 1000
    """Of the bootstrap that the 95 % intervals come from."""


class QuantizeSettings(Section):
    """The student in int8."""

    method: Literal["post_training", "aware"] = "post_training"
    """`post_training` rounds the finished student, which takes seconds; `aware` also trains it on the int8 grid, with
    its teachers' labels, and takes the better of the two on validation."""
    num_images: Count = 16
    """Training photos that the rounding looks at; 48 give hardly more. Of texts, sixty-four times as many."""
    epochs: Count = 3
    """`aware`: of training."""
    batch_size: Count | None = None
    """`aware`: of one update, on one device; unset, that of `training`."""
    learning_rate: Positive | None = None
    """`aware`: at its beginning; unset, a tenth of `training.learning_rate`."""
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """`aware`: share of every kernel but depthwise ones that is pruned, its smallest weights. They stand in
    the file as zeros, which a host that compresses what it sends makes small; the result is taken for better or worse.
    """

    @model_validator(mode="after")
    def _prunes_in_training(self) -> "QuantizeSettings":
        if self.sparsity and self.method != "aware":
            raise ValueError("`sparsity` prunes in training; set `method: aware`")
        return self


class ExportSettings(Section):
    """The page and its model."""

    precision: Precision = "float16"
    """How the page's weights are stored. float16 loses nothing; int8 takes half of its bytes, and some tenths of a
    point of top-1."""
    title: str | None = None
    """Above the page; unset, “What is in the picture?”, or “What does the text say?”."""
    description: str = ""
    """Below the title of the page."""
    num_examples: Number = 0
    """Test photos that the page offers for a try."""
    regions: RegionChoice = "filter"
    """What the page does where it is told where a photo was taken, if the training photos have two regions or more:
    leave the classes that training saw there, or weigh each by how frequent it was there. Weights cost the herbarium's
    teachers 0.5 to 1.9 points of top-1: they see the region in the picture, and a few plants make many photos."""


class VerifySettings(Section):
    """The check in a real browser."""

    num_images: Count = 128
    """Test photos, or texts, to compare."""
    backends: tuple[Backend, ...] = get_args(Backend)
    """Of TensorFlow.js, to compare with Python each; one that the browser lacks is told to be absent."""
    backend_images: Count = 16
    """Of them, for each backend but wasm; in software, webgpu takes more than a second for one."""
    chromium: Path | None = None
    """The browser; unset, the first Chromium or Chrome on the path."""
