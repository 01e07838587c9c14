/* Small files beside the page. */

/* Its JSON, or null where there is none. Asked of the server each time, as in worker.js. */
export async function loadOptionalJson(path) {
  const response = await fetch(path, { cache: "no-cache" }).catch(() => null);
  return response?.ok ? response.json() : null;
}
