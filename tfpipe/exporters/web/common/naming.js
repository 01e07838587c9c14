/* One thing is named at a time, the latest that was chosen. */

import { showAnswer, showFailure } from "./answers.js";
import { element } from "./elements.js";

// Drawn at each choice, before anything is awaited: a slow older photo must not replace a newer one.
let latestRequest = 0;

/* Changes whenever something is chosen. */
export function currentRequest() {
  return latestRequest;
}

/*
 * Runs predict(isLatest) and shows its answer, if nothing newer was chosen meanwhile.
 *
 * trueLabel: what a photo shows, where that is known. isLive: whether it is one of many frames, or a text half written.
 * Returns "named", "failed" or "overtaken".
 */
export async function nameIt(predict, { trueLabel = null, isLive = false } = {}) {
  const request = ++latestRequest;
  const isLatest = () => request === latestRequest;
  document.body.classList.add("is-busy");
  element("waiting").textContent = "One moment …";
  let outcome = "named";
  try {
    const answer = await predict(isLatest);
    if (isLatest()) await showAnswer(answer, { trueLabel, isLive });
  } catch (error) {
    outcome = "failed";
    if (isLatest()) showFailure(error);
  }
  if (!isLatest()) return "overtaken";
  document.body.classList.remove("is-busy");
  return outcome;
}
