/*
 * The model, off the page's thread, so that the page never stutters.
 *
 * The worker's name is the backend to take; without one, the first that answers rightly is taken (backends.js).
 *
 * In:  {id, type: "image", bytes: ArrayBuffer}         an encoded photo
 *      {id, type: "bitmap", bitmap: ImageBitmap}       a camera frame
 *      {id, type: "tensor", values: Float32Array}      (S, S, 3), already preprocessed
 *      {id, type: "divergence", values, reference}     the same, and the backend to compare with
 *      {id, type: "numTensors"}
 * Out: {type: "progress", fraction}, then {type: "ready", backend, description, difference, left, firstPredictionMs,
 *      classes, preprocessing, calibration} or {type: "failed", error, isAbsent}; for each request
 *      {id, probs, milliseconds}, {id, divergence}, {id, numTensors} or {id, error}.
 */
"use strict";

importScripts("loading.js", "backends.js", "decode.js", "preprocess.js");

const ANSWERS = {
  image: answerImage,
  bitmap: answerBitmap,
  tensor: answerTensor,
  divergence: answerDivergence,
  numTensors: answerNumTensors,
};

let artifacts;
let model;
let classes;
let preprocessing;
let calibration;

const started = start();
started.then(
  (facts) => postMessage({ type: "ready", ...facts }),
  (error) => postMessage({ type: "failed", error: error.message, isAbsent: error instanceof AbsentError }),
);

// One after the other: a slow photo must not be overtaken by the frame behind it.
let lastAnswer = Promise.resolve();
self.onmessage = ({ data: request }) => {
  lastAnswer = lastAnswer.then(() => answer(request));
};

async function start() {
  if (typeof OffscreenCanvas === "undefined") throw new Error("This browser is too old: it cannot read pixels in a worker.");
  ["vendor/tf-core.min.js", "vendor/tf-converter.min.js"].forEach(loadScript);
  const facts = await loadFacts();
  ({ classes, preprocessing, calibration } = facts);
  artifacts = await loadArtifacts((fraction) => postMessage({ type: "progress", fraction }));
  checkModel(artifacts, facts);
  let firstPredictionMs;
  const chosen = await chooseBackend(self.name, {
    async load() {
      model = await tf.loadGraphModel({ load: async () => artifacts });
      firstPredictionMs = await warmUp();
    },
    measure: () => measureGolden(facts.golden),
  });
  const description = await describeBackend(chosen.backend);
  return { ...chosen, description, firstPredictionMs, classes, preprocessing, calibration };
}

async function answer({ id, type, ...request }) {
  try {
    await started;
    const { reply, transfer } = await ANSWERS[type](request);
    postMessage({ id, ...reply }, transfer);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}

/* Starting */

/* The milliseconds of the first prediction, which allocates and compiles. */
async function warmUp() {
  const begin = performance.now();
  await predictTensor(new Float32Array(preprocessing.image_size ** 2 * 3));
  return performance.now() - begin;
}

/* The largest difference to a probability that Python gave the golden images; NaN if one is no number. */
async function measureGolden({ side, images, expected }) {
  let largest = 0;
  for (const [number, { ids, probs: wanted }] of expected.entries()) {
    const probs = await predictTensor(preprocessSquare(goldenRows(images[number], side), side, preprocessing));
    largest = Math.max(largest, ...wanted.map((prob, i) => Math.abs(probs[ids[i]] - prob)));
  }
  return largest;
}

/* readRows for preprocessSquare, of an image that is given as base64 of (side, side, 3) bytes. */
function goldenRows(base64, side) {
  const rgb = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const rgba = new Uint8ClampedArray(side * side * 4).map((_, i) => (i % 4 === 3 ? 255 : rgb[Math.floor(i / 4) * 3 + (i % 4)]));
  return (first, count) => rgba.subarray(first * side * 4, (first + count) * side * 4);
}

/* Answering */

async function answerImage({ bytes }) {
  return answerTimed(async () => predictBitmap(await decode(bytes)));
}

async function answerBitmap({ bitmap }) {
  return answerTimed(() => predictBitmap(bitmap));
}

async function answerTensor({ values }) {
  return answerTimed(() => predictTensor(values));
}

async function answerDivergence({ values, reference }) {
  const input = { values: checked(values), shape: inputShape() };
  return { reply: { divergence: await findDivergence(artifacts, input, reference) }, transfer: [] };
}

async function answerNumTensors() {
  return { reply: { numTensors: tf.memory().numTensors }, transfer: [] };
}

async function answerTimed(predict) {
  const begin = performance.now();
  const probs = await predict();
  return { reply: { probs, milliseconds: performance.now() - begin }, transfer: [probs.buffer] };
}

/* Takes the bitmap over and closes it. Returns probs (num_classes,). */
function predictBitmap(bitmap) {
  try {
    const square = centerSquare(bitmap.width, bitmap.height);
    return predictTensor(preprocessSquare(rowReader(bitmap, square), square.side, preprocessing));
  } finally {
    bitmap.close();
  }
}

/* values (S, S, 3) to calibrated probs (num_classes,), both Float32Array. */
async function predictTensor(values) {
  const input = tf.tensor(checked(values), inputShape());
  // TensorFlow.js runs an int8 model's initializer at its first prediction; inside a tidy, its products would be lost.
  const logits = model.predict(input);
  const found = await logits.data();
  tf.dispose([input, logits]);
  return softmax(found);
}

function inputShape() {
  return [1, preprocessing.image_size, preprocessing.image_size, 3];
}

function checked(values) {
  const [, size] = inputShape();
  if (values.length !== size * size * 3) {
    throw new Error(`The model takes ${size} × ${size} × 3 values; got ${values.length}.`);
  }
  return values;
}

function softmax(logits) {
  const largest = logits.reduce((max, logit) => Math.max(max, logit), -Infinity);
  const exps = Array.from(logits, (logit) => Math.exp((logit - largest) / calibration.temperature));
  const total = exps.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(exps, (value) => value / total);
}
