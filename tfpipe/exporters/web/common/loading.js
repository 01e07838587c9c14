/* The files beside the page: fetched, checked, and complained of in one sentence when they do not fit together. */
"use strict";

const MODEL_PATH = "model/model.json";
const BYTES_PER_VALUE = { float32: 4, int32: 4, bool: 1, uint8: 1, uint16: 2, float16: 2, complex64: 8 };

const loadedScripts = new Set();

/* Runs a script once. */
function loadScript(path) {
  if (loadedScripts.has(path)) return;
  try {
    importScripts(path);
  } catch {
    throw new Error(`${path} could not be loaded. Is the export complete?`);
  }
  loadedScripts.add(path);
}

/* {classes, preprocessing, calibration, golden}, which belong to each other. */
async function loadFacts() {
  const names = ["classes", "preprocessing", "calibration", "golden"];
  const [known, preprocessing, calibration, golden] = await Promise.all(names.map((name) => loadJson(`model/${name}.json`)));
  checkCalibration(calibration, known.sha256);
  return { classes: known.classes, preprocessing, calibration, golden };
}

/* The graph and its weights, as tf.loadGraphModel takes them from any loader. */
async function loadArtifacts(onProgress) {
  const artifacts = await tf.io.http(MODEL_PATH, { fetchFunc: fetchChecked, onProgress }).load();
  checkWeights(artifacts);
  return artifacts;
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

function checkCalibration(calibration, classesSha256) {
  if (calibration.classes_sha256 !== classesSha256) {
    throw new Error("model/calibration.json is of other classes than model/classes.json. Export the model again.");
  }
  if (!(calibration.temperature > 0)) {
    throw new Error(`model/calibration.json has the temperature ${calibration.temperature}. Export the model again.`);
  }
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

/* Whether the model and its class list belong together. */
function checkClasses({ signature: { outputs } }, classes) {
  const [, length] = shapeOf(Object.values(outputs)[0]);
  if (length !== classes.length) {
    throw new Error(`The model has ${length} outputs, but model/classes.json names ${classes.length} classes.`);
  }
}

/* Of what the model takes, with -1 where any length will do; its other inputs are the initializer's. */
function inputShape({ signature: { inputs } }) {
  return shapeOf(Object.values(inputs).find(({ resourceId }) => resourceId === undefined));
}

function shapeOf({ tensorShape: { dim } }) {
  return dim.map(({ size }) => Number(size));
}
