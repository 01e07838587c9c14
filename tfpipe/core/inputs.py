"""What a model wants to see: one value that drives tf.data, `preprocessing.json` and the page."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class ImageInput:
    """The centre square of a photo, resized to `size`, then `(value - mean) / scale` per channel.

    Values are 0..255 before; the resize is bilinear with antialiasing.
    """

    size: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: tuple[float, float, float] = (127.5, 127.5, 127.5)

    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one example."""
        return (self.size, self.size, 3)

    def to_json(self) -> dict[str, Any]:
        """As in `preprocessing.json`, with the two things that are the same for every model."""
        values = asdict(self)
        size = values.pop("size")
        return {"image_size": size, "crop": "center_square", "resize": "bilinear_antialias"} | values


@dataclass(frozen=True)
class TextInput:
    """The ids of a text's first `max_length` sub-words, special ones included; a batch is filled up with `pad_id`."""

    max_length: int
    pad_id: int
    tokenizer: str
    """The text of a `tokenizer.json`, as the package `tokenizers` reads it: it travels with the model."""

    dtype: ClassVar[str] = "int32"

    @property
    def shape(self) -> tuple[None]:
        """Of one example: as long as its batch."""
        return (None,)

    def to_json(self) -> dict[str, Any]:
        """As in `preprocessing.json`."""
        return asdict(self)


ModelInput = ImageInput | TextInput


def input_from_json(document: dict[str, Any]) -> ModelInput:
    """Reads what `to_json` wrote.

    Raises:
        KeyError: when it is of neither kind.
    """
    if "tokenizer" in document:
        return TextInput(document["max_length"], document["pad_id"], document["tokenizer"])
    return ImageInput(document["image_size"], tuple(document["mean"]), tuple(document["scale"]))
