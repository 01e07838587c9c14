/* What went wrong, in a sentence above everything else. */

import { element } from "./elements.js";

export function showNotice(text) {
  element("notice-text").textContent = text;
  element("notice").classList.remove("late");
  element("notice").hidden = false;
}

export function hideNotice() {
  element("notice").hidden = true;
}
