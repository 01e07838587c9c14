"""What every section of a settings file is made of."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Task = Literal["image", "text"]
Augmentation = Literal["none", "moderate", "aggressive"]
Sampling = Literal["uniform", "class_balanced", "square_root", "effective_number"]
ClassWeights = Literal["none", "balanced", "effective_number"]
SplitName = Literal["train", "validation", "test"]
Precision = Literal["float32", "float16", "int8"]
Backend = Literal["wasm", "webgl", "webgpu", "cpu"]
"""Of TensorFlow.js, in the order in which the page tries them."""
SetKind = Literal["none", "marginal", "class_conditional"]
RegionChoice = Literal["filter", "reweight", "none"]
Pooling = Literal["first", "mean"]
BestMetric = Literal["accuracy", "f1", "loss"]
THINGS: dict[Task, str] = {"image": "photos", "text": "texts"}
"""What reports and warnings call the examples."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Number = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """Part of a settings file. Frozen; an unknown key is an error, and so is a number that is none or has no end."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would take true for 1."""
        if isinstance(value, bool) and {int, float} & _types_in(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("a number is needed")
        return value


def _types_in(annotation: Any) -> set[Any]:
    """What a value may be: `Count | None` may be an int, or None."""
    return {annotation}.union(*(_types_in(part) for part in get_args(annotation)))
