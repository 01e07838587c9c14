/* Photos: chosen, dropped, pasted. */

import { predictImage } from "./asking.js";
import { releaseCamera } from "./camera-view.js";
import { element } from "./elements.js";
import { showPhoto } from "./frames.js";
import { nameIt } from "./naming.js";
import { showNotice } from "./notices.js";

export function listenForPhotos() {
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

/* photo: a Blob, or the promise of one. trueLabel: what it shows, where that is known. */
export async function namePhoto(photo, trueLabel = null) {
  releaseCamera();
  const predict = async (isLatest) => {
    const blob = await photo;
    if (!isLatest()) return null;
    await showPhoto(blob);
    return predictImage(blob);
  };
  await nameIt(predict, { trueLabel });
}
