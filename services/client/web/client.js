/**
 * Asks the reference client, which has served this page, and notices whether it answers.
 *
 * @typedef {object} Answer
 * @property {number} status 0 when the client gave no answer
 * @property {string} foreign the answer of something else in the client's place, as `HTTP 502`; empty when none came
 * @property {any} body the JSON object of the client's answer, an empty one when there was none
 * @property {number} retryAfterMs how long to leave it alone, whoever says so
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
   * Only GETs decide whether the client answers: where something lets GETs pass and no POSTs, it would be told anew
   * with each request.
   *
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<Answer>}
   */
  async ask(path, body) {
    const answer = await answerTo(path, body);
    if (body === undefined) this.#notice(answer.status !== 0);
    return answer;
  }

  #notice(answers) {
    if (answers === this.answers) return;
    this.answers = answers;
    this.since = new Date().toISOString();
    this.dispatchEvent(new Event("change"));
  }
}

async function answerTo(path, body) {
  try {
    const response = await fetch(`/api/client/${path}`, request(body));
    const retryAfterMs = Number(response.headers.get("retry-after") ?? 0) * 1000 || 0;
    const said = await response.json().catch(() => null);
    if (hasClientsForm(response, said)) return { status: response.status, foreign: "", body: said, retryAfterMs };
    return { status: 0, foreign: `HTTP ${response.status}`, body: {}, retryAfterMs };
  } catch {
    return { status: 0, foreign: "", body: {}, retryAfterMs: 0 };
  }
}

/** A network that wants a login first, and a proxy that can't reach the client, answer with pages. */
function hasClientsForm({ ok }, said) {
  return typeof said === "object" && said !== null && (ok || typeof said.error === "string");
}

/** @returns {RequestInit} */
function request(body) {
  const common = { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body === undefined) return /** @type {RequestInit} */ (common);
  const headers = { "content-type": "application/json" };
  return /** @type {RequestInit} */ ({ ...common, method: "POST", headers, body: JSON.stringify(body) });
}
