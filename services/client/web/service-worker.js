/**
 * Lets the page start when the client can't be reached. It answers for the page's own files only: what the page asks of
 * the client's API passes it by, so no capture can be delayed or lost by it.
 *
 * The client puts a line before this file: `PRECACHE`, with the paths of all files and a digest of their bytes. So the
 * worker changes with any of them, and a new one gets all files anew before it takes the old one's place.
 */

/* global PRECACHE */

const CACHE = `pullsync-page-${PRECACHE.digest}`;
const PATHS = new Set(PRECACHE.paths);
const PATIENCE_MS = 3_000;
const WITHOUT_MS = 5_000;

let withoutUntil = 0;

self.addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const isOurs = origin === self.location.origin && PATHS.has(pathname);
  if (isOurs && request.method === "GET") event.respondWith(answer(request));
});

async function fill() {
  const cache = await caches.open(CACHE);
  await cache.addAll(PRECACHE.paths.map((path) => new Request(path, { cache: "no-cache" })));
}

async function dropOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("pullsync-page-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

/**
 * The client's own answer; the kept file when there is none, or a bad one, or none soon. The files after it come from here
 * at once: the page is not put together of two versions, and does not wait for each of its files.
 */
async function answer(request) {
  const kept = await (await caches.open(CACHE)).match(new URL(request.url).pathname);
  if (kept === undefined) return fetch(request);
  return (Date.now() < withoutUntil ? null : await fresh(request)) ?? kept;
}

async function fresh(request) {
  const response = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => null);
  if (response?.ok) return response;
  withoutUntil = Date.now() + WITHOUT_MS;
  return null;
}
