/* What every page does when it is opened: title, model, and the files for the next visit without a network. */

import { showTiming } from "./answers.js";
import * as client from "./client.js";
import { element, withText } from "./elements.js";
import { loadOptionalJson } from "./files.js";
import { hideNotice, showNotice } from "./notices.js";
import { keepOffline } from "./offline.js";

// Driven by `tfpipe verify`, through the same worker and code a visitor uses.
window.tfpipe = {
  ready: client.ready,
  predict: client.predict,
  findDivergence: client.findDivergence,
  numTensors: client.numTensors,
};

export function startPage() {
  hideNotice();
  showTitle();
  showModel().then(keepOffline); // what is kept is fetched once more, and must not slow down the first answer
}

async function showTitle() {
  const page = await loadOptionalJson("model/page.json");
  if (!page) return;
  document.title = page.title;
  element("title").textContent = page.title;
  element("description").textContent = page.description;
}

async function showModel() {
  element("loading").hidden = false;
  client.onProgress((fraction) => (element("progress").value = fraction));
  try {
    const { classes, description, left } = await client.ready;
    showBackend(description, left);
    showKnownNames(classes);
  } catch (error) {
    element("waiting").hidden = true;
    showNotice(`The model could not be loaded. ${error.message}`);
  }
  element("loading").hidden = true;
}

function showBackend(description, left) {
  const reasons = left.map(({ backend, reason }) => `; not ${backend}: ${reason}`);
  element("timing").dataset.backend = description + reasons.join("");
  showTiming("Ready");
}

function showKnownNames(classes) {
  element("known-summary").textContent = `The ${classes.length} names it knows`;
  element("known-names").replaceChildren(...classes.map((name) => withText("li", name)));
  element("known").hidden = false;
}
