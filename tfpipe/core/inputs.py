"""What a model wants to see: one value that drives tf.data, `preprocessing.json` and the page."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ImageInput:
    """The centre square of a photo, resized to `size`, then `(value - mean) / scale` per channel.

    Values are 0..255 before; the resize is bilinear with antialiasing.
    """

    size: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: tuple[float, float, float] = (127.5, 127.5, 127.5)

    def to_json(self) -> dict[str, Any]:
        """As in `preprocessing.json`, with the two things that are the same for every model."""
        values = asdict(self)
        size = values.pop("size")
        return {"image_size": size, "crop": "center_square", "resize": "bilinear_antialias"} | values

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "ImageInput":
        """Reads what `to_json` wrote."""
        return cls(document["image_size"], tuple(document["mean"]), tuple(document["scale"]))
