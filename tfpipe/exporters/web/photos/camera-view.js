/* The camera on the page: one frame, or one after the other. */

import { predictBitmap } from "./asking.js";
import * as camera from "./camera.js";
import { element } from "./elements.js";
import { setRatio, showPhoto } from "./frames.js";
import { currentRequest, nameIt } from "./naming.js";
import { hideNotice, showNotice } from "./notices.js";

const LIVE_PAUSE_MS = 450;
let liveTimer = 0;

export async function listenForCamera() {
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

export function releaseCamera() {
  if (!camera.isOpen()) return;
  setLive(false);
  camera.close(element("video"));
  showCamera(false);
}

async function startCamera() {
  const request = currentRequest();
  element("camera-open").disabled = true; // a second press would open a second stream
  const failure = await camera.open(element("video")).catch((error) => error);
  element("camera-open").disabled = false;
  if (request !== currentRequest()) releaseCamera(); // a photo was chosen while the browser asked for permission
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
    return predictBitmap(frame);
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
  const predict = async () => predictBitmap(await camera.grabFrame(element("video")));
  const outcome = await nameIt(predict, { isLive: true });
  if (outcome === "failed") setLive(false);
  if (outcome === "named" && isLive()) liveTimer = setTimeout(nameNextFrame, LIVE_PAUSE_MS);
}
