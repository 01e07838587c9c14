/* The photo as it is mounted, with the square that the model sees. */

import { element } from "./elements.js";

export async function showPhoto(blob) {
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
export function setRatio(frame, width, height) {
  frame.style.setProperty("--ratio", width / height || 1);
}
