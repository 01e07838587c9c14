/* A text, answered while it is written. */

import { showNothing } from "./answers.js";
import * as client from "./client.js";
import { element } from "./elements.js";
import { nameIt } from "./naming.js";

let isAnswering = false;

export function listenForTexts() {
  element("text").addEventListener("input", answerText);
  element("clear").addEventListener("click", () => {
    element("text").value = "";
    element("text").focus();
    answerText();
  });
  answerText(); // what was written before this script ran
}

/* The text is asked of anew only after the last answer, so a slow device falls behind by none. */
async function answerText() {
  if (isAnswering) return;
  isAnswering = true;
  for (let asked = null; asked !== element("text").value; ) {
    asked = element("text").value;
    element("clear").disabled = !asked;
    if (asked.trim()) await nameIt(() => predictText(asked), { isLive: true });
    else showEmpty();
  }
  isAnswering = false;
}

function showEmpty() {
  element("cut-note").hidden = true;
  showNothing();
}

async function predictText(text) {
  const { preprocessing } = await client.ready;
  const answer = await client.predict({ type: "text", text });
  const [, numTokens] = answer.shape;
  element("cut-note").hidden = numTokens < preprocessing.max_length;
  return answer;
}
