/* The page: photos and camera frames in, five names out. The model itself lives in worker.js. */

import * as camera from "./camera.js";
import * as client from "./client.js";
import { isConclusive, predictionSet } from "./decisions.js";

const NUM_RESULTS = 5;
const NUM_IN_SET = 12;
const LIVE_PAUSE_MS = 450;

const element = (id) => document.getElementById(id);

// Drawn at each choice, before anything is awaited: a slow older photo must not replace a newer one.
let latestRequest = 0;
let lastAnnounced = "";
let liveTimer = 0;

// Driven by `tfpipe verify`, through the same worker and code a visitor uses.
window.tfpipe = {
  ready: client.ready,
  predictImage: client.predictImage,
  predictTensor: client.predictTensor,
  findDivergence: client.findDivergence,
  numTensors: client.numTensors,
};

start();

function start() {
  hideNotice();
  showTitle();
  showExamples();
  showModel();
  listenForPhotos();
  listenForCamera();
}

/* Starting */

async function showModel() {
  element("loading").hidden = false;
  client.onProgress((fraction) => (element("progress").value = fraction));
  try {
    const { classes, description, left } = await client.ready;
    showBackend(description, left);
    showKnownNames(classes);
  } catch (error) {
    element("waiting").hidden = true;
    showNotice(`The model could not be loaded. ${error.message}`);
  }
  element("loading").hidden = true;
}

async function showTitle() {
  const page = await loadOptionalJson("model/page.json");
  if (!page) return;
  document.title = page.title;
  element("title").textContent = page.title;
  element("description").textContent = page.description;
}

async function loadOptionalJson(path) {
  const response = await fetch(path, { cache: "no-cache" }).catch(() => null); // as in worker.js
  return response?.ok ? response.json() : null;
}

function showBackend(description, left) {
  const reasons = left.map(({ backend, reason }) => `; not ${backend}: ${reason}`);
  element("timing").dataset.backend = description + reasons.join("");
  showTiming("Ready");
}

function showTiming(text) {
  const { backend } = element("timing").dataset;
  element("timing").textContent = backend ? `${text} (${backend}).` : "";
}

function showKnownNames(classes) {
  element("known-summary").textContent = `The ${classes.length} names it knows`;
  element("known-names").replaceChildren(...classes.map((name) => withText("li", name)));
  element("known").hidden = false;
}

/* Photos: chosen, dropped, pasted */

function listenForPhotos() {
  element("drop").addEventListener("click", () => element("file").click());
  element("file").addEventListener("change", ({ target }) => {
    if (target.files.length) namePhoto(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) namePhoto(event.clipboardData.files[0]);
  });
  listenForDrops();
}

function listenForDrops() {
  const mark = (isOver) => element("drop").classList.toggle("is-over", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const [file] = event.dataTransfer.files;
    if (file) namePhoto(file);
    else showNotice("What was dropped is not an image file. Save the image first, or copy and paste it.");
  });
}

/* photo: a Blob, or the promise of one. */
async function namePhoto(photo, trueLabel = null) {
  releaseCamera();
  await nameIt(async (isLatest) => {
    const blob = await photo;
    if (!isLatest()) return null;
    await showPhoto(blob);
    return client.predictImage(blob);
  }, trueLabel);
}

/* Runs predict(isLatest) and shows its answer, if nothing newer was chosen meanwhile; returns whether that is so. */
async function nameIt(predict, trueLabel = null) {
  const request = ++latestRequest;
  const isLatest = () => request === latestRequest;
  document.body.classList.add("is-busy");
  element("waiting").textContent = "Looking …";
  try {
    const answer = await predict(isLatest);
    if (isLatest()) await showAnswer(answer, trueLabel);
  } catch (error) {
    if (isLatest()) showFailure(error);
  } finally {
    if (isLatest()) document.body.classList.remove("is-busy");
  }
  return isLatest();
}

async function showPhoto(blob) {
  const photo = element("photo");
  URL.revokeObjectURL(photo.src);
  const source = URL.createObjectURL(blob);
  photo.src = source;
  const isImage = await photo.decode().then(() => true, () => false);
  if (photo.src !== source) return; // a newer photo took its place
  setRatio(element("photo-frame"), photo.naturalWidth, photo.naturalHeight);
  element("photo-frame").hidden = !isImage;
  element("crop-note").hidden = !isImage;
  element("prompt-title").textContent = isImage ? "Choose another photo" : "Choose a photo";
}

/* style.css sizes the frame and its crop square from the ratio of width to height. */
function setRatio(frame, width, height) {
  frame.style.setProperty("--ratio", width / height || 1);
}

/* Answers */

async function showAnswer({ probs, milliseconds }, trueLabel) {
  const { classes, calibration } = await client.ready;
  const best = rank(probs).map((index) => ({ name: classes[index], prob: probs[index] }));
  hideNotice();
  showVerdict(probs, calibration);
  showResults(best, trueLabel);
  showSet(probs, classes, calibration);
  showTrueLabel(trueLabel, best);
  announce(best);
  showTiming(`Named in ${milliseconds.toFixed(0)} ms`);
}

/* The indices of the largest probabilities, largest first. */
function rank(probs) {
  return Array.from(probs.keys())
    .sort((a, b) => probs[b] - probs[a])
    .slice(0, NUM_RESULTS);
}

function showVerdict(probs, calibration) {
  const isSure = isConclusive(probs, calibration);
  element("verdict").hidden = isSure;
  element("results-title").textContent = isSure ? "Most likely" : "Perhaps";
  element("verdict").textContent = isSure
    ? ""
    : `Not conclusive: names below ${formatPercent(calibration.threshold)} are wrong too often.`;
}

function showSet(probs, classes, calibration) {
  element("set").hidden = !calibration.sets;
  if (!calibration.sets) return;
  const names = predictionSet(probs, calibration).map((index) => classes[index]);
  const more = names.length > NUM_IN_SET ? ` and ${names.length - NUM_IN_SET} more` : "";
  element("set").textContent = names.length
    ? `Of ${formatPercent(calibration.sets.level)} of photos the true name is among: ${names.slice(0, NUM_IN_SET).join(", ")}${more}.`
    : "The model is unsure of every name: it may be none of them.";
}

function showResults(best, trueLabel) {
  element("waiting").hidden = true;
  element("results").hidden = false;
  fillList(element("results"), best.length, buildResult);
  best.forEach(({ name, prob }, i) => {
    const row = element("results").children[i];
    row.querySelector(".name").textContent = name;
    row.querySelector(".percent").textContent = formatPercent(prob);
    row.querySelector(".bar").style.setProperty("--share", prob);
    row.classList.toggle("is-true", name === trueLabel);
  });
}

/* Rows are kept and refilled, so that the bars glide from one camera frame to the next. */
function fillList(list, length, buildRow) {
  while (list.children.length < length) list.append(buildRow());
  while (list.children.length > length) list.lastChild.remove();
}

function buildResult() {
  const row = document.createElement("li");
  const bar = withText("span", "", "bar");
  bar.setAttribute("aria-hidden", "true");
  row.append(withText("span", "", "name"), withText("span", "", "percent"), bar);
  return row;
}

function formatPercent(prob) {
  if (prob < 0.001) return "< 0.1 %";
  if (prob > 0.999 && prob < 1) return "> 99.9 %";
  return `${(100 * prob).toFixed(1)} %`;
}

function showTrueLabel(trueLabel, best) {
  const verdict = best[0].name === trueLabel ? "The model agrees." : "The model differs.";
  element("true-label").textContent = trueLabel === null ? "" : `This photo is labelled “${trueLabel}”. ${verdict}`;
}

/* Said aloud by screen readers; in continuous use only when the first name changes. */
function announce([first, second]) {
  if (isLive() && first.name === lastAnnounced) return;
  lastAnnounced = first.name;
  const runnerUp = second ? `, then ${second.name}, ${formatPercent(second.prob)}` : "";
  const sentence = `${element("verdict").textContent} ${element("results-title").textContent} ${first.name}, ${formatPercent(first.prob)}${runnerUp}.`;
  element("announcement").textContent = `${sentence} ${element("true-label").textContent}`;
}

function showFailure(error) {
  setLive(false);
  for (const id of ["results", "verdict", "set"]) element(id).hidden = true;
  element("true-label").textContent = "";
  element("waiting").textContent = "Nothing to name yet.";
  element("waiting").hidden = false;
  showTiming("Ready");
  showNotice(error.message);
}

function showNotice(text) {
  element("notice-text").textContent = text;
  element("notice").classList.remove("late");
  element("notice").hidden = false;
}

function hideNotice() {
  element("notice").hidden = true;
}

/* Camera */

async function listenForCamera() {
  element("camera-capture").addEventListener("click", capture);
  element("camera-live").addEventListener("click", toggleLive);
  element("camera-stop").addEventListener("click", stopCamera);
  element("camera-open").addEventListener("click", startCamera);
  element("video").addEventListener("resize", ({ target }) => {
    setRatio(element("video-frame"), target.videoWidth, target.videoHeight);
  });
  window.addEventListener("pagehide", releaseCamera);
  element("camera-open").hidden = !(await camera.isAvailable());
}

async function startCamera() {
  const request = latestRequest;
  element("camera-open").disabled = true; // a second press would open a second stream
  const failure = await camera.open(element("video")).catch((error) => error);
  element("camera-open").disabled = false;
  if (request !== latestRequest) releaseCamera(); // a photo was chosen while the browser asked for permission
  else if (failure) showCameraFailure(failure);
  else showOpenCamera();
}

function showCameraFailure(error) {
  showNotice(error.message);
  element("camera-open").focus(); // lost while it was disabled
}

function showOpenCamera() {
  hideNotice();
  showCamera(true);
  element("camera-capture").focus();
}

function stopCamera() {
  releaseCamera();
  element("camera-open").focus(); // the button pressed is gone
}

function releaseCamera() {
  if (!camera.isOpen()) return;
  setLive(false);
  camera.close(element("video"));
  showCamera(false);
}

function showCamera(isOn) {
  element("drop").hidden = isOn;
  element("camera-view").hidden = !isOn;
  element("camera-open").hidden = isOn;
  for (const id of ["camera-capture", "camera-live", "camera-stop"]) element(id).hidden = !isOn;
  element("crop-note").hidden = !isOn && element("photo-frame").hidden;
}

async function capture() {
  setLive(false);
  await nameIt(async (isLatest) => {
    const frame = await camera.grabFrame(element("video"));
    const still = await encode(frame);
    if (!isLatest()) return null;
    releaseCamera();
    element("drop").focus();
    await showPhoto(still);
    return client.predictBitmap(frame);
  });
}

/* For the preview only: the model gets the frame itself. */
function encode(frame) {
  const canvas = document.createElement("canvas");
  canvas.width = frame.width;
  canvas.height = frame.height;
  canvas.getContext("2d").drawImage(frame, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
}

function isLive() {
  return element("camera-live").getAttribute("aria-pressed") === "true";
}

function setLive(isOn) {
  clearTimeout(liveTimer);
  element("camera-live").setAttribute("aria-pressed", String(isOn));
}

function toggleLive() {
  setLive(!isLive());
  if (isLive()) nameNextFrame();
}

/*
 * The next frame is taken only after the last was answered, so a slow device falls behind by none.
 * Switched off and on meanwhile, a newer loop asks the latest request, and this one ends.
 */
async function nameNextFrame() {
  const isLatest = await nameIt(async () => client.predictBitmap(await camera.grabFrame(element("video"))));
  if (isLatest && isLive()) liveTimer = setTimeout(nameNextFrame, LIVE_PAUSE_MS);
}

/* Examples */

async function showExamples() {
  const index = await loadOptionalJson("examples/index.json");
  if (!index?.examples.length) return;
  element("example-list").replaceChildren(...index.examples.map(buildExample));
  element("examples").hidden = false;
}

function buildExample({ file, label }, i) {
  const thumbnail = document.createElement("img");
  thumbnail.src = file;
  thumbnail.loading = "lazy";
  // The label would give the answer away.
  thumbnail.alt = `Example ${i + 1}`;
  const button = document.createElement("button");
  button.type = "button";
  button.append(thumbnail);
  button.addEventListener("click", () => namePhoto(loadExample(file), label));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

async function loadExample(file) {
  const response = await fetch(file, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) throw new Error(`${file} is missing: the example could not be loaded.`);
  return response.blob();
}

function withText(tag, text, className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}
