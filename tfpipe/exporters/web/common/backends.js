/*
 * The backends of TensorFlow.js, each tried on inputs whose answers are known before it may answer a visitor.
 *
 * Browsers and drivers go wrong silently: a backend that starts may still compute nonsense.
 */
"use strict";

// In the order of trying: the first that is right is taken. A small model is answered soonest without a graphics card.
const BACKENDS = {
  wasm: "vendor/tf-backend-wasm.min.js",
  webgl: "vendor/tf-backend-webgl.min.js",
  webgpu: "vendor/tf-backend-webgpu.min.js",
  cpu: "vendor/tf-backend-cpu.min.js",
};
const TOLERANCE = 0.02; // of a probability; half precision on a phone's graphics card stays below it
const LAYER_TOLERANCE = 0.01; // of a layer's largest value

/*
 * asked: the one backend to take, right or not, or "" for the first that is right.
 * load(): loads the model on the current backend. measure(): the largest error of a known probability there.
 * Returns {backend, difference, left: [{backend, reason}]}; throws when none is left.
 */
async function chooseBackend(asked, { load, measure }) {
  const left = [];
  const measureOn = async (backend) => {
    await startBackend(backend);
    await load();
    return { backend, difference: await measure(), left };
  };
  if (asked) return measureOn(asked);
  for (const backend of Object.keys(BACKENDS)) {
    try {
      const chosen = await measureOn(backend);
      if (chosen.difference <= TOLERANCE) return chosen;
      left.push({ backend, reason: describeError(chosen.difference) });
    } catch (error) {
      left.push({ backend, reason: error.message });
    }
  }
  const reasons = left.map(({ backend, reason }) => `${backend}: ${reason}`).join("; ");
  throw new Error(`No backend of TensorFlow.js answers rightly in this browser (${reasons})`);
}

function describeError(difference) {
  return Number.isNaN(difference) ? "its answers are no numbers" : `its answers are off by ${difference.toFixed(2)}`;
}

async function startBackend(backend) {
  if (!(backend in BACKENDS)) {
    throw new Error(`There is no backend “${backend}”; there are ${Object.keys(BACKENDS).join(", ")}.`);
  }
  loadScript(BACKENDS[backend]);
  if (backend === "wasm") tf.wasm.setWasmPaths("vendor/");
  const isThere = tf.findBackendFactory(backend) && (await tf.setBackend(backend).catch(() => false));
  if (!isThere) throw new AbsentError(`This browser has no ${backend}.`);
}

class AbsentError extends Error {}

/* What wasm makes use of: its name as a visitor may read it. */
async function describeBackend(backend) {
  if (backend !== "wasm") return backend;
  const parts = [];
  if (await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT")) parts.push("SIMD");
  if (tf.wasm.getThreadsCount() > 1) parts.push(`${tf.wasm.getThreadsCount()} threads`);
  return parts.length ? `wasm with ${parts.join(" and ")}` : "wasm";
}

/*
 * The first node whose values are not those that another backend computes of the same input, and by how much of its
 * largest value: {node, difference}, or null. For looking into a backend that is wrong. makeInput() gives a new tensor.
 */
async function findDivergence(artifacts, makeInput, reference) {
  const wrong = tf.getBackend();
  const names = computedNodes(artifacts.modelTopology.node);
  const found = await computeNodes(artifacts, await makeInput(), names);
  await startBackend(reference);
  const wanted = await computeNodes(artifacts, await makeInput(), names);
  await tf.setBackend(wrong);
  const differences = names.map((node, i) => ({ node, difference: relativeDifference(found[i], wanted[i]) }));
  return differences.find(({ difference }) => !(difference <= LAYER_TOLERANCE)) ?? null;
}

/* Names of the nodes that compute something, each after those it reads. */
function computedNodes(nodes) {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const ordered = new Set();
  const visit = (name) => {
    const node = byName.get(name.split(":")[0].replace("^", ""));
    if (!node || ordered.has(node.name)) return;
    (node.input ?? []).forEach(visit);
    ordered.add(node.name);
  };
  byName.forEach((_, name) => visit(name));
  return [...ordered].filter((name) => !["Const", "Placeholder"].includes(byName.get(name).op));
}

/* Disposes of the input. */
async function computeNodes(artifacts, input, names) {
  const model = await tf.loadGraphModel({ load: async () => artifacts });
  tf.dispose(model.predict(input)); // an int8 model gets its weights now
  const outputs = [model.execute(input, names)].flat();
  const found = await Promise.all(outputs.map((output) => output.data()));
  tf.dispose([input, outputs]);
  model.dispose();
  return found;
}

function relativeDifference(found, wanted) {
  let [largest, difference] = [1e-6, 0];
  wanted.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value));
    difference = Math.max(difference, Math.abs(found[i] - value)); // NaN stays
  });
  return difference / largest;
}
