/*
 * What the worker takes: photos, as tensors (1, S, S, 3).
 *
 * {type: "image", bytes: ArrayBuffer}       an encoded photo
 * {type: "bitmap", bitmap: ImageBitmap}     a camera frame
 * {type: "tensor", values: Float32Array}    (S, S, 3), already preprocessed
 */
"use strict";

importScripts("decode.js", "preprocess.js");

const KNOWN_PREPROCESSING = { crop: "center_square", resize: "bilinear_antialias" };

const INPUTS = {
  image: async ({ bytes }) => ofBitmap(await decode(bytes)),
  bitmap: ({ bitmap }) => ofBitmap(bitmap),
  tensor: ({ values }) => ofValues(values),
};

let preprocessing;

/* shape: that of the model's input. */
function openInputs(given, [, height]) {
  if (typeof OffscreenCanvas === "undefined") throw new Error("This browser is too old: it cannot read pixels in a worker.");
  for (const [key, known] of Object.entries(KNOWN_PREPROCESSING)) {
    if (given[key] !== known) {
      throw new Error(`model/preprocessing.json asks for ${key} “${given[key]}”; this page knows “${known}”.`);
    }
  }
  if (height !== given.image_size) {
    throw new Error(
      `The model takes images of ${height} pixels, but model/preprocessing.json makes them ${given.image_size}.`,
    );
  }
  preprocessing = given;
}

function blankInput() {
  return ofValues(new Float32Array(preprocessing.image_size ** 2 * 3));
}

/* An image that is given as base64 of (side, side, 3) bytes. */
function goldenInput({ side, images }, number) {
  const rgb = Uint8Array.from(atob(images[number]), (char) => char.charCodeAt(0));
  const rgba = new Uint8ClampedArray(side * side * 4).map((_, i) => (i % 4 === 3 ? 255 : rgb[Math.floor(i / 4) * 3 + (i % 4)]));
  const readRows = (first, count) => rgba.subarray(first * side * 4, (first + count) * side * 4);
  return ofValues(preprocessSquare(readRows, side, preprocessing));
}

/* Takes the bitmap over and closes it. */
function ofBitmap(bitmap) {
  try {
    const square = centerSquare(bitmap.width, bitmap.height);
    return ofValues(preprocessSquare(rowReader(bitmap, square), square.side, preprocessing));
  } finally {
    bitmap.close();
  }
}

function ofValues(values) {
  const { image_size: size } = preprocessing;
  if (values.length !== size * size * 3) {
    throw new Error(`The model takes ${size} × ${size} × 3 values; got ${values.length}.`);
  }
  return tf.tensor(values, [1, size, size, 3]);
}
