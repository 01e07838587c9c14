/* The page: a text in, the names of all classes out, while it is written. The model itself lives in worker.js. */

import { startPage } from "./starting.js";
import { listenForTexts } from "./texts.js";

startPage();
listenForTexts();
