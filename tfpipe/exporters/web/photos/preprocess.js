/*
 * From the pixels of a photo to the numbers the model was trained on.
 *
 * The worker loads this file with importScripts, node's tests with require; it touches no browser API.
 * Every step must equal the Python pipeline (tf.image.resize, bilinear, antialias=True) up to the
 * rounding of float32, because a model scores worse on images that were resized in another way.
 */
"use strict";

/* The largest centred square of an image, in whole pixels: {left, top, side}. */
function centerSquare(width, height) {
  const side = Math.min(width, height);
  return {
    left: Math.floor((width - side) / 2),
    top: Math.floor((height - side) / 2),
    side,
  };
}

/*
 * A square image to the model's input.
 *
 * readRows(first, count) gives `count` rows of the square from row `first` on, as RGBA bytes
 * (count, side, 4). A photo is read in strips: phones refuse canvases of more than 16 megapixels.
 * Returns Float32Array (image_size, image_size, 3).
 */
function preprocessSquare(readRows, side, { image_size: size, mean, scale }) {
  return normalize(resizeSquare(readRows, side, size), mean, scale);
}

/* The square resized to (size, size, 3), values from 0 to 255. Rows first, columns second, as in TensorFlow. */
function resizeSquare(readRows, side, size) {
  const spans = triangleSpans(side, size);
  return resizeColumns(resizeRows(readRows, side, spans), side, spans);
}

/* (value - mean) / scale for each channel; `pixels` is (..., 3). */
function normalize(pixels, mean, scale) {
  return pixels.map((value, i) => (value - mean[i % 3]) / scale[i % 3]);
}

/*
 * Which input pixels make each output pixel, and with what weights: [{start, weights}], one per output.
 *
 * The arithmetic of TensorFlow's ScaleAndTranslate op (ComputeSpansCore in scale_and_translate_op.cc)
 * with the triangle kernel and half-pixel centres. It counts in float32, so this does too: in a photo
 * 4,000 pixels wide float64 would place the samples up to 0.0003 pixels elsewhere.
 */
function triangleSpans(inputSize, outputSize) {
  const f32 = Math.fround;
  const inverseScale = f32(1 / f32(outputSize / inputSize));
  const radius = Math.max(inverseScale, 1); // shrinking averages over the pixels it merges
  return Array.from({ length: outputSize }, (_, output) => {
    const center = f32(f32(output + 0.5) * inverseScale);
    const start = clamp(Math.ceil(f32(f32(center - radius) - 0.5)), inputSize);
    const last = clamp(Math.floor(f32(f32(center + radius) - 0.5)), inputSize);
    return { start, weights: triangleWeights(start, last, center, radius) };
  });
}

function clamp(index, length) {
  return Math.min(Math.max(index, 0), length - 1);
}

/* The kernel at the centres of the pixels start..last, scaled to sum to one. */
function triangleWeights(start, last, center, radius) {
  const f32 = Math.fround;
  const inverseRadius = f32(1 / radius);
  const weights = new Float32Array(last - start + 1).map((_, i) => {
    const distance = f32(f32(start + i + 0.5) - center);
    return Math.max(0, 1 - Math.abs(f32(distance * inverseRadius)));
  });
  const total = weights.reduce((sum, weight) => f32(sum + weight), 0);
  return weights.map((weight) => weight * f32(1 / total));
}

/* (side, side, 4) bytes, read in strips, to (spans.length, side, 3). */
function resizeRows(readRows, side, spans) {
  const rows = new Float32Array(spans.length * side * 3);
  const stripHeight = Math.max(1, Math.floor(MAX_STRIP_PIXELS / side));
  for (let first = 0; first < side; first += stripHeight) {
    const count = Math.min(stripHeight, side - first);
    addStrip(rows, readRows(first, count), { first, count, side }, spans);
  }
  return rows;
}

function addStrip(rows, strip, { first, count, side }, spans) {
  spans.forEach(({ start, weights }, output) => {
    const from = Math.max(start, first);
    const to = Math.min(start + weights.length, first + count);
    const target = rows.subarray(output * side * 3, (output + 1) * side * 3);
    for (let row = from; row < to; row++) {
      addRow(target, strip, (row - first) * side * 4, weights[row - start]);
    }
  });
}

function addRow(target, strip, offset, weight) {
  for (let to = 0, from = offset; to < target.length; to += 3, from += 4) {
    target[to] += weight * strip[from];
    target[to + 1] += weight * strip[from + 1];
    target[to + 2] += weight * strip[from + 2];
  }
}

/* (spans.length, side, 3) to (spans.length, spans.length, 3). */
function resizeColumns(rows, side, spans) {
  const size = spans.length;
  const pixels = new Float32Array(size * size * 3);
  for (let row = 0; row < size; row++) {
    spans.forEach(({ start, weights }, column) => {
      addPixels(pixels, (row * size + column) * 3, rows, (row * side + start) * 3, weights);
    });
  }
  return pixels;
}

function addPixels(pixels, to, rows, offset, weights) {
  for (let i = 0, from = offset; i < weights.length; i++, from += 3) {
    pixels[to] += weights[i] * rows[from];
    pixels[to + 1] += weights[i] * rows[from + 1];
    pixels[to + 2] += weights[i] * rows[from + 2];
  }
}

const MAX_STRIP_PIXELS = 2 ** 20;

if (typeof module !== "undefined") {
  module.exports = { centerSquare, preprocessSquare, resizeSquare, normalize, triangleSpans };
}
