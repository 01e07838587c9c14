/* The page: a text in, the names of all classes out, while it is written. The model itself lives in worker.js. */

import * as client from "./client.js";
import { startPage } from "./starting.js";
import { listenForTexts } from "./texts.js";

// Driven by `tfpipe verify`, through the same worker and code a visitor uses.
window.tfpipe = {
  ready: client.ready,
  predict: client.predict,
  findDivergence: client.findDivergence,
  numTensors: client.numTensors,
};

startPage();
listenForTexts();
