/* Photos of the site's own, for a try. */

import { element } from "./elements.js";
import { loadOptionalJson } from "./files.js";
import { namePhoto } from "./photos.js";

export async function showExamples() {
  const index = await loadOptionalJson("examples/index.json");
  if (!index?.examples.length) return;
  element("example-list").replaceChildren(...index.examples.map(buildExample));
  element("examples").hidden = false;
}

function buildExample({ file, label }, i) {
  const thumbnail = document.createElement("img");
  thumbnail.src = file;
  thumbnail.loading = "lazy";
  // The label would give the answer away.
  thumbnail.alt = `Example ${i + 1}`;
  const button = document.createElement("button");
  button.type = "button";
  button.append(thumbnail);
  button.addEventListener("click", () => namePhoto(loadExample(file), label));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

/* Its bytes, a Blob. Throws an error with a sentence for the reader. */
async function loadExample(path) {
  const response = await fetch(path, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) throw new Error(`${path} is missing: the example could not be loaded.`);
  return response.blob();
}
