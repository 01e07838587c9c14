/* The page: photos and camera frames in, five names out. The model itself lives in worker.js. */

import { showAnswerAgain } from "./answers.js";
import { listenForCamera } from "./camera-view.js";
import { showExamples } from "./examples.js";
import { listenForPhotos } from "./photos.js";
import { listenForRegions } from "./regions.js";
import { startPage } from "./starting.js";

startPage();
showExamples();
listenForPhotos();
listenForCamera();
listenForRegions(showAnswerAgain);
