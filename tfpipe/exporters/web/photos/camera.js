/* The camera: opened on request, released by close(). */

let stream = null;

export async function isAvailable() {
  // Absent on plain http (other than localhost) and in frames without permission.
  if (!navigator.mediaDevices?.getUserMedia) return false;
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.some((device) => device.kind === "videoinput");
}

/* Shows the camera in `video`. Throws an error with a sentence for the reader. */
export async function open(video) {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    close(video);
    throw new Error(SENTENCES[error.name] ?? `The camera did not start (${error.message}).`);
  }
}

/* The frame in view, an ImageBitmap. Throws an error with a sentence for the reader. */
export async function grabFrame(video) {
  // An unplugged camera leaves its last frame in `video`.
  if (!stream?.active) throw new Error("The camera is gone. Press Stop, then reopen it or choose a photo.");
  return createImageBitmap(video).catch(() => {
    throw new Error("The camera shows no picture yet. Try again in a moment.");
  });
}

export function isOpen() {
  return stream !== null;
}

export function close(video) {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
}

const SENTENCES = {
  NotAllowedError: "The camera was not allowed. Allow it in the browser's settings for this page, or choose a photo.",
  NotFoundError: "No camera was found. Choose a photo instead.",
  NotReadableError: "The camera is busy in another program. Close that one and try again.",
};
