"""The page's preprocessing, run by node, gives TensorFlow's numbers."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import tfpipe.exporters
from tfpipe.core.inputs import ImageInput
from tfpipe.data.views import normalise

NODE = shutil.which("node")
PREPROCESS = Path(tfpipe.exporters.__file__).parent / "web" / "photos" / "preprocess.js"

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed: the page's code cannot be run here")

# Side of the square, size of the model's input: smaller, equal, a little larger, far larger, enlarged, tiny.
CASES = [(64, 32), (32, 32), (33, 32), (299, 32), (1023, 96), (20, 32), (1, 8), (2, 7), (50, 1)]

SCRIPT = """
const fs = require("fs");
const { preprocessSquare } = require(process.argv[1]);
const folder = process.argv[2];
for (const { name, side, input } of JSON.parse(fs.readFileSync(`${folder}/cases.json`))) {
  const rgba = new Uint8ClampedArray(fs.readFileSync(`${folder}/${name}.rgba`));
  let rowsRead = 0;
  const readRows = (first, count) => {
    if (first !== rowsRead) throw new Error(`row ${first} after ${rowsRead}`);
    rowsRead += count;
    return rgba.subarray(first * side * 4, (first + count) * side * 4);
  };
  const pixels = preprocessSquare(readRows, side, input);
  fs.writeFileSync(`${folder}/${name}.f32`, Buffer.from(pixels.buffer));
}
"""


def run_node(script: str, *arguments: object) -> str:
    command = [str(NODE), "-e", script, str(PREPROCESS), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_the_page(squares: list[NDArray[Any]], inputs: list[ImageInput], folder: Path) -> list[NDArray[np.float32]]:
    """Several squares through one process of node."""
    cases = []
    for number, (square, model_input) in enumerate(zip(squares, inputs, strict=True)):
        opaque = np.full((*square.shape[:2], 1), 255, np.uint8)
        (folder / f"{number}.rgba").write_bytes(np.concatenate([square, opaque], axis=-1).tobytes())
        cases.append({"name": str(number), "side": len(square), "input": model_input.to_json()})
    (folder / "cases.json").write_text(json.dumps(cases))
    run_node(SCRIPT, folder)
    return [
        np.fromfile(folder / f"{number}.f32", np.float32).reshape(model_input.size, model_input.size, 3)
        for number, model_input in enumerate(inputs)
    ]


@needs_node
def test_the_page_resizes_and_normalises_as_tensorflow_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    squares = [generator.integers(0, 256, (side, side, 3), np.uint8) for side, _ in CASES]
    # A mean and scale of their own for each channel, so that channels cannot be exchanged.
    inputs = [ImageInput(size, mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4)) for _, size in CASES]
    for square, model_input, page in zip(squares, inputs, in_the_page(squares, inputs, tmp_path), strict=True):
        size = model_input.size
        expected = normalise(tf.image.resize(square, (size, size), antialias=True), model_input).numpy()
        # One thousandth on the scale 0..255.
        np.testing.assert_allclose(page * model_input.scale[0], expected * model_input.scale[0], atol=1e-3)


@needs_node
def test_a_photo_of_many_megapixels_is_read_in_strips_and_comes_out_the_same(tmp_path: Path) -> None:
    # 2 ** 20 pixels make a strip, so this one has several, and rows of the output straddle them.
    square = np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8)
    model_input = ImageInput(40, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    (page,) = in_the_page([square], [model_input], tmp_path)
    expected = tf.image.resize(square, (40, 40), antialias=True).numpy()
    np.testing.assert_allclose(page, expected, atol=1e-3)


@needs_node
def test_the_page_takes_the_centre_square_that_python_takes() -> None:
    sizes = [(90, 60), (61, 90), (7, 4), (4, 7), (5, 5)]
    script = "const { centerSquare } = require(process.argv[1]);"
    script += "console.log(JSON.stringify(JSON.parse(process.argv[2]).map(([w, h]) => centerSquare(w, h))));"
    found = json.loads(run_node(script, json.dumps(sizes)))
    for (width, height), square in zip(sizes, found, strict=True):
        side = min(width, height)
        assert square == {"left": (width - side) // 2, "top": (height - side) // 2, "side": side}


@needs_node
def test_the_weights_of_every_pixel_sum_to_one() -> None:
    script = "const { triangleSpans } = require(process.argv[1]);"
    script += "console.log(JSON.stringify(JSON.parse(process.argv[2]).map(([a, b]) =>"
    script += " triangleSpans(a, b).map(({ start, weights }) => [start, ...weights]))));"
    for (side, _), spans in zip(CASES, json.loads(run_node(script, json.dumps(CASES))), strict=True):
        for start, *weights in spans:
            assert start >= 0
            assert start + len(weights) <= side
            assert sum(weights) == pytest.approx(1, abs=1e-6)
