/*
 * The page's side of worker.js: requests out, promises back.
 *
 * `ready` resolves to {backend, description, difference, left, firstPredictionMs, classes, preprocessing, calibration}
 * and rejects with one sentence for the reader. `?backend=` in the page's address takes that one and no other.
 */

const backend = new URLSearchParams(location.search).get("backend") ?? "";
const worker = new Worker(new URL("worker.js", import.meta.url), { name: backend });
const pending = new Map();
let lastId = 0;
let failure = null;
let reportProgress = () => {};

export const ready = new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => {
    if (data.type === "progress") reportProgress(data.fraction);
    else if (data.type === "ready") resolve(data);
    else if (data.type === "failed") reject(Object.assign(new Error(data.error), { isAbsent: data.isAbsent }));
    else settle(data);
  };
  worker.onerror = () => {
    reject(new Error("worker.js could not be loaded. Is the export complete?")); // does nothing once ready
    rejectPending();
  };
});

/* listener(fraction), from 0 to 1, while the weights load. */
export function onProgress(listener) {
  reportProgress = listener;
}

/* An input of a kind that inputs.js knows to {probs: Float32Array (num_classes,), milliseconds, shape}. */
export function predict(input, transfer = []) {
  return ask(input, transfer);
}

/* The first node of the model that this backend computes otherwise than `reference` does: {node, difference} or null. */
export async function findDivergence(input, reference) {
  return (await ask({ type: "divergence", input, reference }, [])).divergence;
}

/* How many tensors the worker holds; it must not grow. */
export async function numTensors() {
  return (await ask({ type: "numTensors" }, [])).numTensors;
}

async function ask(request, transfer) {
  await ready;
  if (failure) throw failure;
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    pending.set(id, { resolve, reject });
    worker.postMessage({ id, ...request }, transfer);
  });
}

/* After an error that nobody caught, the worker may never answer again. */
function rejectPending() {
  failure = new Error("The model stopped working. Reload the page to start it again.");
  for (const { reject } of pending.values()) reject(failure);
}

function settle({ id, error, ...answer }) {
  const { resolve, reject } = pending.get(id);
  pending.delete(id);
  if (error) reject(new Error(error));
  else resolve(answer);
}
