/*
 * What the worker takes: texts, as tensors (1, sub-words).
 *
 * {type: "text", text: string}
 * {type: "tensor", values: Int32Array}      ids of sub-words
 */
"use strict";

importScripts("tokenizer.js");

const INPUTS = {
  text: ({ text }) => ofIds(tokenizer.encode(text, maxLength)),
  tensor: ({ values }) => ofIds(values),
};

let tokenizer;
let maxLength;
let padId;

function openInputs({ tokenizer: document, max_length, pad_id }) {
  if (!document) throw new Error("model/preprocessing.json has no tokenizer. Export the model again.");
  tokenizer = buildTokenizer(JSON.parse(document));
  maxLength = max_length;
  padId = pad_id;
}

/* As long as texts may be, so that the first prediction allocates enough for all. */
function blankInput() {
  const ids = new Int32Array(maxLength).fill(padId);
  ids.set(tokenizer.encode("", maxLength));
  return ofIds(ids);
}

function goldenInput({ texts }, number) {
  return ofIds(Int32Array.from(texts[number]));
}

function ofIds(ids) {
  if (!ids.length || ids.length > maxLength) {
    throw new Error(`The model takes 1 to ${maxLength} sub-words; got ${ids.length}.`);
  }
  return tf.tensor(ids, [1, ids.length], "int32");
}
