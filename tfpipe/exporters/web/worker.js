/*
 * The model, off the page's thread, so that the page never stutters.
 *
 * In:  {id, type: "image", bytes: ArrayBuffer}         an encoded photo
 *      {id, type: "bitmap", bitmap: ImageBitmap}       a camera frame
 *      {id, type: "tensor", values: Float32Array}      (S, S, 3), already preprocessed
 *      {id, type: "numTensors"}
 * Out: {type: "progress", fraction}, then {type: "ready", backend, simd, classes, preprocessing, calibration}
 *      or {type: "failed", error}; for each request {id, probs, milliseconds}, {id, numTensors} or {id, error}.
 */
"use strict";

const MODEL_PATH = "model/model.json";
const SCRIPTS = [
  "vendor/tf-core.min.js",
  "vendor/tf-converter.min.js",
  "vendor/tf-backend-cpu.min.js",
  "vendor/tf-backend-wasm.min.js",
  "decode.js",
  "preprocess.js",
];
const KNOWN_PREPROCESSING = { crop: "center_square", resize: "bilinear_antialias" };
const BYTES_PER_VALUE = { float32: 4, int32: 4, bool: 1, uint8: 1, uint16: 2, float16: 2, complex64: 8 };
const ANSWERS = { image: answerImage, bitmap: answerBitmap, tensor: answerTensor, numTensors: answerNumTensors };

let model;
let classes;
let preprocessing;
let calibration;

const started = start();
started.then(
  (facts) => postMessage({ type: "ready", ...facts }),
  (error) => postMessage({ type: "failed", error: error.message }),
);

// One after the other: a slow photo must not be overtaken by the frame behind it.
let lastAnswer = Promise.resolve();
self.onmessage = ({ data: request }) => {
  lastAnswer = lastAnswer.then(() => answer(request));
};

async function start() {
  if (typeof OffscreenCanvas === "undefined") throw new Error("This browser is too old: it cannot read pixels in a worker.");
  loadScripts();
  let known;
  [known, preprocessing, calibration] = await Promise.all(
    ["classes", "preprocessing", "calibration"].map((name) => loadJson(`model/${name}.json`)),
  );
  classes = known.classes;
  checkPreprocessing();
  checkCalibration(known);
  const backend = await chooseBackend();
  model = await loadModel();
  warmUp();
  return { backend, simd: await hasSimd(backend), classes, preprocessing, calibration };
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

/* Loading */

function loadScripts() {
  for (const script of SCRIPTS) {
    try {
      importScripts(script);
    } catch {
      throw new Error(`${script} could not be loaded. Is the export complete?`);
    }
  }
}

async function loadJson(path) {
  const response = await fetchChecked(path);
  try {
    return await response.json();
  } catch {
    throw new Error(`${path} is not valid JSON. Export the model again.`);
  }
}

/*
 * fetch, but a missing file is an error: TensorFlow.js would take the server's 404 page for weights.
 * And the server is asked each time: a model exported again has the same file names, so a cache could mix old and new.
 */
async function fetchChecked(url, options) {
  const path = relativePath(url);
  const response = await fetch(url, { ...options, cache: "no-cache" }).catch(() => {
    throw new Error(`${path} could not be fetched. Is the server still running?`);
  });
  if (!response.ok) throw new Error(`${path} is missing (the server answered ${response.status}).`);
  return response;
}

function relativePath(url) {
  return new URL(url, self.location.href).href.replace(new URL(".", self.location.href).href, "");
}

function checkPreprocessing() {
  for (const [key, known] of Object.entries(KNOWN_PREPROCESSING)) {
    if (preprocessing[key] !== known) {
      throw new Error(`model/preprocessing.json asks for ${key} “${preprocessing[key]}”; this page knows “${known}”.`);
    }
  }
}

function checkCalibration({ sha256 }) {
  if (calibration.classes_sha256 !== sha256) {
    throw new Error("model/calibration.json is of other classes than model/classes.json. Export the model again.");
  }
  if (!(calibration.temperature > 0)) {
    throw new Error(`model/calibration.json has the temperature ${calibration.temperature}. Export the model again.`);
  }
}

async function chooseBackend() {
  tf.wasm.setWasmPaths("vendor/");
  for (const backend of ["wasm", "cpu"]) {
    if (await tf.setBackend(backend).catch(() => false)) return backend;
  }
  throw new Error("This browser can run neither the wasm nor the cpu backend of TensorFlow.js.");
}

async function hasSimd(backend) {
  return backend === "wasm" && tf.env().getAsync("WASM_HAS_SIMD_SUPPORT");
}

async function loadModel() {
  const artifacts = await tf.io.http(MODEL_PATH, { fetchFunc: fetchChecked, onProgress }).load();
  checkWeights(artifacts);
  return tf.loadGraphModel({ load: async () => artifacts });
}

function onProgress(fraction) {
  postMessage({ type: "progress", fraction });
}

/* A shard cut off on its way would load as silently wrong weights or fail with a riddle. */
function checkWeights({ weightSpecs, weightData }) {
  const wanted = weightSpecs.reduce((sum, spec) => sum + storedBytes(spec), 0);
  const found = [weightData].flat().reduce((sum, buffer) => sum + buffer.byteLength, 0);
  if (found !== wanted) {
    throw new Error(`The weights are incomplete: ${found} bytes arrived, model.json names ${wanted}. Copy model/*.bin again.`);
  }
}

function storedBytes({ shape, dtype, quantization }) {
  const numValues = shape.reduce((product, length) => product * length, 1);
  return numValues * BYTES_PER_VALUE[quantization ? quantization.dtype : dtype];
}

/* The first prediction allocates; and it shows whether the model and the files beside it belong together. */
function warmUp() {
  const size = preprocessing.image_size;
  const [, height] = model.inputs[0].shape;
  if (height !== size) {
    throw new Error(`The model takes images of ${height} pixels, but model/preprocessing.json makes them ${size}.`);
  }
  // TensorFlow.js runs an int8 model's initializer at its first prediction; inside a tidy, its products would be lost.
  const blank = tf.zeros([1, size, size, 3]);
  tf.dispose([blank, model.predict(blank)]);
  const { length } = predictTensor(new Float32Array(size * size * 3));
  if (length !== classes.length) {
    throw new Error(`The model has ${length} outputs, but model/classes.json names ${classes.length} classes.`);
  }
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
function predictTensor(values) {
  const size = preprocessing.image_size;
  if (values.length !== size * size * 3) {
    throw new Error(`The model takes ${size} × ${size} × 3 values; got ${values.length}.`);
  }
  return softmax(tf.tidy(() => model.predict(tf.tensor4d(values, [1, size, size, 3])).dataSync()));
}

function softmax(logits) {
  const largest = logits.reduce((max, logit) => Math.max(max, logit), -Infinity);
  const exps = Array.from(logits, (logit) => Math.exp((logit - largest) / calibration.temperature));
  const total = exps.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(exps, (value) => value / total);
}
