/**
 * Lets the page start when the client can't be reached. It answers for the page's own files only: what the page asks of
 * the client's API passes it by, so no capture can be delayed or lost by it.
 *
 * The client puts a line before this file: `KEPT`, with the version of the page and the paths of its files. The version
 * is in the paths: whichever page the browser gets, the client's or the kept one, names the files that go with it, and
 * this worker decides nothing but that. A new version is another worker, which takes the old one's place when it has
 * all files. The files of the one before stay: a tab may be starting from them at that moment.
 */

/* global KEPT */

const PREFIX = "pullsync-page-";
const CACHE = PREFIX + KEPT.version;
const PATHS = new Set(KEPT.files);
const VERSIONED = /^\/[0-9a-f]{16}\//;
const PATIENCE_MS = 3_000;

self.addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOld());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (origin !== self.location.origin || request.method !== "GET") return;
  if (pathname === "/") event.respondWith(page(request));
  else if (PATHS.has(pathname) || VERSIONED.test(pathname)) event.respondWith(file(request, pathname));
});

/** All or nothing: a client of another version, which took this one's place meanwhile, does not have these paths. */
async function fill() {
  const cache = await caches.open(CACHE);
  const asIs = { cache: "no-cache", redirect: "error" }; // no login that somebody has put before the client
  await cache.addAll([KEPT.page, ...KEPT.files].map((path) => new Request(path, asIs)));
}

async function dropOld() {
  const others = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(others.slice(0, -1).map((name) => caches.delete(name))); // the oldest come first
}

/** What is at the address, a login before the client as well; the kept page when nothing is, or not soon. */
async function page(request) {
  const asked = fetch(request);
  const soon = await Promise.race([asked.catch(() => null), patience()]);
  if (soon !== null && soon.status < 500) return soon;
  return (await kept(KEPT.page)) ?? asked;
}

async function file(request, path) {
  return (await kept(path)) ?? fetch(request);
}

/** Of this version, or of the one before; undefined, too, where the browser's storage fails. */
async function kept(path) {
  const options = { ignoreVary: true };
  try {
    return (await caches.match(path, { ...options, cacheName: CACHE })) ?? (await caches.match(path, options));
  } catch {
    return undefined;
  }
}

/** @returns {Promise<null>} */
function patience() {
  return new Promise((resolve) => {
    setTimeout(() => resolve(null), PATIENCE_MS);
  });
}
