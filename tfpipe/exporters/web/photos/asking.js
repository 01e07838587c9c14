/* Photos, as the worker is asked of them; each answer is {probs: Float32Array (num_classes,), milliseconds}. */

import * as client from "./client.js";

/* An encoded photo (ArrayBuffer or Blob). */
export async function predictImage(photo) {
  const bytes = photo instanceof Blob ? await photo.arrayBuffer() : photo.slice(0);
  return client.predict({ type: "image", bytes }, [bytes]);
}

/* A camera frame (ImageBitmap, given away). */
export function predictBitmap(bitmap) {
  return client.predict({ type: "bitmap", bitmap }, [bitmap]);
}
