/* Where a photo was taken, where the training photos say so: asked once, and remembered on this device. */

import { regionFactors } from "./decisions.js";
import { element, withText } from "./elements.js";
import { loadOptionalJson } from "./files.js";

const ANYWHERE = "";
const HINTS = {
  filter: "Only the names that training saw there are left.",
  reweight: "Names that training saw more of there count for more.",
};
const MEMORY = `tfpipe region ${new URL(".", window.location.href).pathname}`;

let known = null; // model/regions.json

/* onChange() is called when the reader has chosen another. */
export async function listenForRegions(onChange) {
  known = await loadOptionalJson("model/regions.json");
  const names = Object.keys(known?.regions ?? {});
  if (!names.length) return;
  element("region").replaceChildren(new Option("Anywhere", ANYWHERE), ...names.map((name) => new Option(name)));
  element("region").value = names.includes(recall()) ? recall() : ANYWHERE;
  element("region-hint").textContent = HINTS[known.mode];
  element("region").addEventListener("change", () => {
    remember(element("region").value);
    onChange();
  });
  element("region-choice").hidden = false;
}

/* What the probabilities are multiplied by, (num_classes,); null where no region is chosen. */
export function chosenFactors(numClasses) {
  const name = known ? element("region").value : ANYWHERE;
  return name === ANYWHERE ? null : regionFactors(known, name, numClasses);
}

/* Browsers may forbid memory. */
function recall() {
  try {
    return localStorage.getItem(MEMORY);
  } catch {
    return ANYWHERE;
  }
}

function remember(name) {
  try {
    localStorage.setItem(MEMORY, name);
  } catch {
    // It is asked again next time.
  }
}
