/* The page: photos and camera frames in, five names out. The model itself lives in worker.js. */

import { showAnswerAgain } from "./answers.js";
import { listenForCamera } from "./camera-view.js";
import * as client from "./client.js";
import { showExamples } from "./examples.js";
import { listenForPhotos } from "./photos.js";
import { listenForRegions } from "./regions.js";
import { startPage } from "./starting.js";

// Driven by `tfpipe verify`, through the same worker and code a visitor uses.
window.tfpipe = {
  ready: client.ready,
  predict: client.predict,
  findDivergence: client.findDivergence,
  numTensors: client.numTensors,
};

startPage();
showExamples();
listenForPhotos();
listenForCamera();
listenForRegions(showAnswerAgain);
