/*
 * The site on the reader's device: all of one version, so that old and new never mix.
 *
 * Before these lines `build_site` writes
 *   VERSION  a hash of the whole site
 *   FILES    what every visit needs: path → its hash, as fetch checks it
 *   LATER    the same of what few visits need, which is kept once it was asked for
 */

const HASHES = { __proto__: null, ...FILES, ...LATER };
const PREFIX = `tfpipe ${self.registration.scope} `; // other sites of this origin have caches of their own
const CACHE = PREFIX + VERSION;
// With these two a page may run WebAssembly on several threads; static hosts seldom send them.
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const OF_THE_TRANSFER = ["Content-Encoding", "Content-Length", "Vary"];

self.addEventListener("install", (event) => event.waitUntil(keepFiles()));

self.addEventListener("activate", (event) => event.waitUntil(takeOver()));

self.addEventListener("message", ({ data }) => {
  if (data === "take over") self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const path = pathOf(event.request);
  if (path in HASHES) event.respondWith(answer(path));
});

/* One file that is missing, cut off or of another version, and this version is not installed. */
async function keepFiles() {
  const cache = await caches.open(CACHE);
  await Promise.all(Object.keys(FILES).map((path) => keep(cache, path)));
}

/* Throws what fetch throws if the server has not, or has no longer, the file of this version. */
async function keep(cache, path) {
  const ask = (how) => fetch(path, { cache: how, integrity: HASHES[path] });
  // A server may take another file of the same second for the one that the browser has.
  const response = await ask("no-cache").catch(() => ask("reload"));
  const isolated = isolate(response);
  await cache.put(path, isolated.clone());
  return isolated;
}

function isolate(response) {
  const headers = new Headers(response.headers);
  OF_THE_TRANSFER.forEach((name) => headers.delete(name));
  Object.entries(ISOLATION).forEach(([name, value]) => headers.set(name, value));
  return new Response(response.body, { headers });
}

/* Older versions go, and tabs that show one begin anew: halfway through its files, a tab would get a mixture. */
async function takeOver() {
  const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
  for (const tab of await self.clients.matchAll({ type: "window" })) {
    tab.navigate(tab.url).catch(() => {}); // not awaited: it needs this version, which is active only after this
  }
}

async function answer(path) {
  const cache = await caches.open(CACHE);
  return (await cache.match(path)) ?? keep(cache, path);
}

/* Relative to the site; "" for what is not the site's. */
function pathOf({ method, url }) {
  const { origin, pathname } = new URL(url);
  const scope = new URL(self.registration.scope);
  if (method !== "GET" || origin !== scope.origin || !pathname.startsWith(scope.pathname)) return "";
  return pathname.slice(scope.pathname.length) || "index.html";
}
