/**
 * Hands the captures over to the client, the oldest first, each until the client has said that it has it.
 *
 * A request whose answer was lost is made again: by its id the client knows the capture. Web Locks let one tab at a
 * time do it; where there are none (no secure context), two may, and the ids make that harmless.
 *
 * @typedef {"away" | "foreign" | "busy" | "forbidden" | "misdirected" | "broken" | "disk"} Kind
 * @typedef {{kind: Kind, said: string, since: string}} Problem why nothing is handed over, `said` in the client's words
 */

const LOCK = "pullsync-handover";
const REFUSALS = new Set([400, 409, 413, 422]);
/** @type {Record<number, Kind>} */
const KINDS = { 401: "forbidden", 403: "forbidden", 408: "busy", 421: "misdirected", 429: "busy" };
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const LONGEST_ASKED_PAUSE_MS = 300_000;

/** Fires `change` when it comes to a stand, or goes on; `handed` after it has handed some over. */
export class Handover extends EventTarget {
  /** @type {Problem | null} */
  problem = null;
  #captures;
  #client;
  #failures = 0;
  #handed = 0;
  #timer = 0;
  #isRunning = false;
  #isWanted = false;
  #isPauseAsked = false;

  /**
   * @param {{captures: import("./captures.js").Captures, client: import("./client.js").Client}} parts
   */
  constructor({ captures, client }) {
    super();
    this.#captures = captures;
    this.#client = client;
  }

  /** There is something new: go on, unless a pause is on, which it does not end. */
  offer() {
    if (this.#timer === 0) this.wake();
  }

  /** Something may be better now: end a pause, but not one that was asked for. */
  hurry() {
    if (!this.#isPauseAsked) this.wake();
  }

  /** Go on now. May be called at any time. */
  async wake() {
    this.#isWanted = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#endPause();
    while (this.#isWanted && this.#timer === 0) {
      this.#isWanted = false;
      await this.#run();
    }
    this.#isRunning = false;
  }

  async #run() {
    try {
      const stop = await inTurn(() => this.#handAllOver());
      if (stop === null) this.#goesOn();
      else this.#pause(stop.kind, stop.said, stop.retryAfterMs);
    } catch (error) {
      this.#pause("disk", String(error), 0);
    }
    if (this.#handed > 0) this.dispatchEvent(new Event("handed"));
    this.#handed = 0;
  }

  /** What stopped it; null when all is handed over. */
  async #handAllOver() {
    for (let next = await this.#captures.nextToHandOver(); next; next = await this.#captures.nextToHandOver()) {
      const answer = await this.#client.ask("add-capture", asSent(next));
      const { status, body } = answer;
      if (body.capture?.capture_id === next.capture_id) await this.#taken(next);
      else if (REFUSALS.has(status) || body.capture) await this.#captures.refused(next.capture_id, body.error ?? "");
      else return stopBy(answer);
    }
    return null;
  }

  async #taken(capture) {
    await this.#captures.handedOver(capture.capture_id);
    this.#handed += 1;
    this.#goesOn();
  }

  #goesOn() {
    this.#failures = 0;
    if (this.problem === null) return;
    this.problem = null;
    this.dispatchEvent(new Event("change"));
  }

  /** Longer after each failure, and by chance, so that many pages do not come back at the same moment. */
  #pause(kind, said, askedMs) {
    const grown = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#endPause();
    this.#isPauseAsked = askedMs > grown;
    this.#timer = setTimeout(() => this.wake(), Math.max(grown, Math.min(askedMs, LONGEST_ASKED_PAUSE_MS)));
    const since = this.problem?.kind === kind ? this.problem.since : new Date().toISOString();
    this.problem = { kind, said, since };
    this.dispatchEvent(new Event("change"));
  }

  #endPause() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#isPauseAsked = false;
  }
}

/** Why it can't go on after this answer: what is not the client's own word refuses nothing. */
function stopBy({ status, foreign, body, retryAfterMs }) {
  if (status === 0) return { kind: foreign ? "foreign" : "away", said: foreign, retryAfterMs };
  return { kind: KINDS[status] ?? "broken", said: body.error ?? `HTTP ${status}`, retryAfterMs };
}

function asSent({ capture_id, pokemon_id, pokemon_name, action, removed, timestamp }) {
  return { capture_id, pokemon_id, pokemon_name, action, removed, timestamp };
}

/** One tab after the other, where the browser can see to it. */
const inTurn = (work) => (navigator.locks ? navigator.locks.request(LOCK, work) : work());
