/* The page without a network: sw.js keeps it on this device, where browsers allow that. */

import { element } from "./elements.js";

export async function keepOffline() {
  // There is none on plain http (other than localhost); private windows may refuse it.
  const registration = await navigator.serviceWorker?.register("sw.js", { updateViaCache: "none" }).catch(() => null);
  if (!registration) return;
  navigator.serviceWorker.ready.then(() => (element("kept").hidden = false));
  offerNewer(registration);
  follow(registration);
  registration.addEventListener("updatefound", () => follow(registration));
  registration.update().catch(() => {}); // browsers ask by themselves, too, but when they please; fails offline
}

function follow(registration) {
  registration.installing?.addEventListener("statechange", () => offerNewer(registration));
}

/* A newer version waits until no tab shows this one, or until the reader asks for it. */
function offerNewer({ waiting }) {
  const isFirst = !navigator.serviceWorker.controller;
  if (!waiting || isFirst) return;
  element("update-reload").onclick = () => waiting.postMessage("take over"); // which reloads this tab
  element("update").hidden = false;
}
