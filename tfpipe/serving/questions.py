"""What is asked and answered, as JSON: the models that OpenAPI shows, and requests are read by."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from tfpipe.core.settings import ServeSettings, Task
from tfpipe.serving.batching import Judgement

MAX_FAULTS = 10
"""Faults of a request that are told."""
MAX_NAME = 100
"""Characters of a key in the request that are told."""


class Strict(BaseModel):
    """Takes no other keys, and no other types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Question(Strict):
    """Inputs to be judged."""

    inputs: list[str]


class Answered(Strict):
    """What the model says of one input."""

    label: str = Field(description="The likeliest class.")
    confidence: float = Field(allow_inf_nan=False, description="Its probability, calibrated.")
    conclusive: bool = Field(description="Whether the confidence is above the threshold that `calibrate` found.")
    probs: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        description="Probabilities by class, the likeliest first."
    )


class Problem(Strict):
    """Why there is no answer."""

    detail: str


class State(Strict):
    """How the server is."""

    state: str


class Fault(Strict):
    """What is wrong in one place of a request."""

    loc: list[str | int] = Field(description="Where: `body`, then keys and places.")
    msg: str
    type: str


class Faults(Strict):
    """What is wrong with a request."""

    detail: list[Fault]


ANSWERS = TypeAdapter(list[Answered])


def build_question(task: Task, settings: ServeSettings) -> type[Question]:
    """The model of a request for texts, or for photos."""
    if task == "text":
        one: Any = Annotated[str, Field(min_length=1, max_length=settings.max_chars, pattern=r"\S")]
    else:
        of_photo: dict[str, Any] = {"contentEncoding": "base64", "contentMediaType": "image/*"}
        longest = 4 * ceil(settings.max_photo_bytes / 3)
        one = Annotated[str, Field(min_length=1, max_length=longest, json_schema_extra=of_photo)]
    many = Annotated[list[one], Field(min_length=1, max_length=settings.max_batch)]
    return create_model("Question", __base__=Question, __doc__=Question.__doc__, inputs=(many, ...))


def to_answers(judgements: Sequence[Judgement], max_probs: int) -> bytes:
    """A list of `Answered`, as JSON.

    Raises:
        ValidationError: when a probability is no number.
    """
    return ANSWERS.dump_json(
        [
            Answered(
                label=one.label,
                confidence=one.confidence,
                conclusive=one.is_conclusive,
                probs=dict(list(one.probs.items())[:max_probs]),
            )
            for one in judgements
        ]
    )


def to_faults(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Of pydantic's errors what may be told: not what was sent."""
    return [
        {"loc": ["body", *map(_shortened, error["loc"])], "msg": error["msg"], "type": error["type"]}
        for error in errors[:MAX_FAULTS]
    ]


def _shortened(part: str | int) -> str | int:
    return part[:MAX_NAME] if isinstance(part, str) else part
