/*
 * The model, off the page's thread, so that the page never stutters.
 *
 * The worker's name is the backend to take; without one, the first that answers rightly is taken (backends.js).
 *
 * In:  {id, type, …}                                   an input of a kind that INPUTS in inputs.js has
 *      {id, type: "divergence", input, reference}      such an input, and the backend to compare with
 *      {id, type: "numTensors"}
 * Out: {type: "progress", fraction}, then {type: "ready", backend, description, difference, left, firstPredictionMs,
 *      classes, preprocessing, calibration} or {type: "failed", error, isAbsent}; for each request
 *      {id, probs, milliseconds, shape}, {id, divergence}, {id, numTensors} or {id, error}.
 */
"use strict";

importScripts("loading.js", "backends.js", "inputs.js");

const QUESTIONS = { divergence: answerDivergence, numTensors: answerNumTensors };

let artifacts;
let model;
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
  ["vendor/tf-core.min.js", "vendor/tf-converter.min.js"].forEach(loadScript);
  const { classes, preprocessing, golden, ...others } = await loadFacts();
  calibration = others.calibration;
  artifacts = await loadArtifacts((fraction) => postMessage({ type: "progress", fraction }));
  checkClasses(artifacts, classes);
  openInputs(preprocessing, inputShape(artifacts));
  let firstPredictionMs;
  const chosen = await chooseBackend(self.name, {
    async load() {
      model = await tf.loadGraphModel({ load: async () => artifacts });
      firstPredictionMs = await warmUp();
    },
    measure: () => measureGolden(golden),
  });
  const description = await describeBackend(chosen.backend);
  return { ...chosen, description, firstPredictionMs, classes, preprocessing, calibration };
}

async function answer({ id, type, ...request }) {
  try {
    await started;
    const reply = type in QUESTIONS ? await QUESTIONS[type](request) : await answerInput(type, request);
    postMessage({ id, ...reply }, reply.probs ? [reply.probs.buffer] : []);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}

/* The milliseconds of the first prediction, which allocates and compiles. */
async function warmUp() {
  const begin = performance.now();
  await predict(blankInput());
  return performance.now() - begin;
}

/* The largest difference to a probability that Python gave the golden inputs; NaN if one is no number. */
async function measureGolden(golden) {
  let largest = 0;
  for (const [number, { ids, probs: wanted }] of golden.expected.entries()) {
    const probs = await predict(goldenInput(golden, number));
    largest = Math.max(largest, ...wanted.map((prob, i) => Math.abs(probs[ids[i]] - prob)));
  }
  return largest;
}

async function answerInput(type, request) {
  const begin = performance.now();
  const input = await INPUTS[type](request);
  const { shape } = input;
  const probs = await predict(input);
  return { probs, milliseconds: performance.now() - begin, shape };
}

async function answerDivergence({ input: { type, ...request }, reference }) {
  return { divergence: await findDivergence(artifacts, () => INPUTS[type](request), reference) };
}

async function answerNumTensors() {
  return { numTensors: tf.memory().numTensors };
}

/* A tensor, which is disposed of, to calibrated probs Float32Array (num_classes,). */
async function predict(input) {
  // TensorFlow.js runs an int8 model's initializer at its first prediction; inside a tidy, its products would be lost.
  const logits = model.predict(input);
  const found = await logits.data();
  tf.dispose([input, logits]);
  return softmax(found);
}

function softmax(logits) {
  const largest = logits.reduce((max, logit) => Math.max(max, logit), -Infinity);
  const exps = Array.from(logits, (logit) => Math.exp((logit - largest) / calibration.temperature));
  const total = exps.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(exps, (value) => value / total);
}
