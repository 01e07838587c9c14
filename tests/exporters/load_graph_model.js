/*
 * node load_graph_model.js <folder> <input.f32> <image size>: the logits of a folder's model as JSON, by a
 * plain tf.loadGraphModel(url) on TensorFlow.js's own CPU backend, and how many tensors a prediction leaves behind.
 *
 * The first prediction stands outside of a tidy: it runs the initializer, whose products a tidy would dispose of.
 */
"use strict";

const fs = require("fs");
const http = require("http");
const path = require("path");
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-cpu");
const { loadGraphModel } = require("@tensorflow/tfjs-converter");

const [folder, input, size] = process.argv.slice(2);

const server = http.createServer((request, response) => response.end(fs.readFileSync(path.join(folder, request.url))));
server.listen(0, "127.0.0.1", async () => {
  const model = await loadGraphModel(`http://127.0.0.1:${server.address().port}/model.json`);
  const values = new Float32Array(new Uint8Array(fs.readFileSync(input)).buffer);
  const images = tf.tensor(values, [values.length / (size * size * 3), +size, +size, 3]);
  const predict = () => tf.tidy(() => Array.from(model.predict(images).dataSync()));
  tf.dispose(model.predict(images));
  const logits = predict();
  const before = tf.memory().numTensors;
  predict();
  console.log(JSON.stringify({ logits, leaked: tf.memory().numTensors - before, metadata: model.metadata }));
  server.close();
});
