/*
 * From the bytes of a photo to its pixels, as the training records hold them: upright, on white, as stored.
 *
 * The worker loads this file with importScripts. What Python does with the same bytes stands in tfpipe/data/photos.py.
 */
"use strict";

const UPRIGHT = 1;
const EXIF_ORIENTATION = 0x0112;
/* How EXIF's orientations 2 to 8 turn a picture: the matrix [a, b, c, d] of a canvas. */
const TURNS = {
  2: [-1, 0, 0, 1],
  3: [-1, 0, 0, -1],
  4: [1, 0, 0, -1],
  5: [0, 1, 1, 0],
  6: [0, 1, -1, 0],
  7: [0, -1, -1, 0],
  8: [0, -1, 1, 0],
};

/* An ImageBitmap of the pixels as stored, no colour profile applied, turned as the camera was held. */
async function decode(bytes) {
  const ofWebp = webpOrientation(bytes);
  try {
    const bitmap = await createImageBitmap(new Blob([bytes]), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: ofWebp === UPRIGHT ? "from-image" : "none",
    });
    return ofWebp === UPRIGHT ? bitmap : turn(bitmap, TURNS[ofWebp]);
  } catch {
    throw new Error("This could not be read as an image. A JPEG, PNG or WebP photo will do.");
  }
}

/* readRows for preprocessSquare: strips of the square over white paper, where the photo is transparent. */
function rowReader(bitmap, { left, top, side }) {
  const canvas = new OffscreenCanvas(side, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return (first, count) => {
    canvas.height = count; // also clears
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, count);
    context.drawImage(bitmap, -left, -top - first);
    return context.getImageData(0, 0, side, count).data;
  };
}

/* EXIF's orientation of a WebP file, which Chromium passes over; 1 (upright) for any other format. */
function webpOrientation(bytes) {
  const view = new DataView(bytes);
  if (!hasText(view, 0, "RIFF") || !hasText(view, 8, "WEBP")) return UPRIGHT;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const length = view.getUint32(at + 4, true);
    if (hasText(view, at, "EXIF")) return exifOrientation(bytes.slice(at + 8, at + 8 + length));
    at += 8 + length + (length % 2);
  }
  return UPRIGHT;
}

/* From EXIF as a TIFF header and its first directory (TIFF 6.0, §2); what cannot be read is upright. */
function exifOrientation(exif) {
  try {
    const view = new DataView(exif, hasText(new DataView(exif), 0, "Exif") ? 6 : 0);
    const isLittle = hasText(view, 0, "II");
    const directory = view.getUint32(4, isLittle);
    for (let entry = 0; entry < view.getUint16(directory, isLittle); entry++) {
      const at = directory + 2 + 12 * entry;
      if (view.getUint16(at, isLittle) !== EXIF_ORIENTATION) continue;
      const orientation = view.getUint16(at + 8, isLittle);
      return orientation in TURNS ? orientation : UPRIGHT;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return UPRIGHT;
}

function hasText(view, at, text) {
  return at + text.length <= view.byteLength && Array.from(text).every((c, i) => view.getUint8(at + i) === c.charCodeAt(0));
}

/* The picture turned; takes the bitmap over. */
function turn(bitmap, [a, b, c, d]) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(a ? width : height, a ? height : width);
  const context = canvas.getContext("2d");
  // What turns to the left of the edge, or above it, moves back by the canvas's size.
  context.setTransform(a, b, c, d, a + c < 0 ? canvas.width : 0, b + d < 0 ? canvas.height : 0);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}
