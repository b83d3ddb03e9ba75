/**
 * Asks the reference client, which has served this page, and notices whether it answers.
 *
 * @typedef {object} Answer
 * @property {number} status 0 when there was none that could be read
 * @property {boolean} isClients whether it has the form of the client's answers, and is not that of a server before it
 * @property {any} body the JSON object of the answer, an empty one when there was none
 * @property {number} retryAfterMs how long it asks to be left alone
 */

const TIMEOUT_MS = 15_000;

/** Fires `change` when the client begins to answer, or ceases to. */
export class Client extends EventTarget {
  /** @type {boolean | null} null until it was asked for the first time */
  answers = null;
  since = new Date().toISOString();

  /**
   * GET `/api/client/<path>`, or POST with a body. Never rejects.
   *
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<Answer>}
   */
  async ask(path, body) {
    const answer = await asked(path, body);
    this.#notice(answer.isClients);
    return answer;
  }

  #notice(answers) {
    if (answers === this.answers) return;
    this.answers = answers;
    this.since = new Date().toISOString();
    this.dispatchEvent(new Event("change"));
  }
}

async function asked(path, body) {
  try {
    const response = await fetch(`/api/client/${path}`, request(body));
    const said = await response.json().catch(() => null);
    const isClients = typeof said === "object" && said !== null;
    const status = response.ok && !isClients ? 0 : response.status; // as when a network wants a login first
    const retryAfterMs = Number(response.headers.get("retry-after") ?? 0) * 1000 || 0;
    return { status, isClients, body: isClients ? said : {}, retryAfterMs };
  } catch {
    return { status: 0, isClients: false, body: {}, retryAfterMs: 0 };
  }
}

/** @returns {RequestInit} */
function request(body) {
  const common = { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body === undefined) return /** @type {RequestInit} */ (common);
  const headers = { "content-type": "application/json" };
  return /** @type {RequestInit} */ ({ ...common, method: "POST", headers, body: JSON.stringify(body) });
}
