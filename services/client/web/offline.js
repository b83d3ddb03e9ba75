/** Has the browser keep the page, to start without the client, and what is captured in it. Both where it can. */

/** Not without a secure context: at plain http, only `localhost` is one. */
export function keepPage() {
  if (!navigator.serviceWorker) return;
  const url = "/service-worker.js";
  const policy = globalThis.trustedTypes?.createPolicy("service-worker", { createScriptURL: () => url });
  const trusted = policy ? policy.createScriptURL("") : url;
  navigator.serviceWorker.register(trusted, { updateViaCache: "none" }).catch(() => {
    // The client is away, or the browser wants none: the page works, and the next visit tries again.
  });
}

/** @type {Promise<void> | null} */
let asked = null;

/** Ask, once, that captures are not cleared when the device runs out of space; some browsers ask their user. */
export function keepCaptures() {
  asked ??= persist().catch(() => {}); // it may not tell, or be asked; then it does as it would have
  return asked;
}

async function persist() {
  if ((await navigator.storage?.persisted?.()) === false) await navigator.storage.persist();
}
