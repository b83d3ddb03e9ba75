/** Brings in what the client has beyond this browser: made elsewhere, or before this browser's storage was cleared. */

import { statesOf } from "./states.js";

const PAGE = 1_000;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;

/** Page by page, until it is done once. */
export class TakeOver {
  /** Whether only pullers, who have a token, may read all captures. */
  isClosed = false;
  /** @type {import("./captures.js").Trouble | null} why a page can't be written here */
  trouble = null;
  #captures;
  #client;
  #after = "";
  #failures = 0;
  #pausedUntil = 0;
  #isRunning = false;
  #isDone = false;

  /**
   * @param {{captures: import("./captures.js").Captures, client: import("./client.js").Client}} parts
   */
  constructor({ captures, client }) {
    this.#captures = captures;
    this.#client = client;
  }

  /** Go on after the last page that is on the disk, unless what was brought in could not be written a moment ago. */
  async goOn() {
    if (this.#isRunning || this.#isDone || Date.now() < this.#pausedUntil) return;
    this.#isRunning = true;
    try {
      while (await this.#takePage());
    } catch (error) {
      this.trouble = { error, since: this.trouble?.since ?? new Date().toISOString() };
      this.#pausedUntil = Date.now() + Math.min(FIRST_PAUSE_MS * 2 ** this.#failures, LONGEST_PAUSE_MS);
      this.#failures += 1;
    }
    this.#isRunning = false;
  }

  /** Whether there may be another one. Rejects when it can't be written. */
  async #takePage() {
    const page = `all-captures?limit=${PAGE}&after=${encodeURIComponent(this.#after)}`;
    const { status, body } = await this.#client.ask(page);
    this.isClosed = status === 401;
    this.#isDone = this.isClosed || (status === 200 && body.captures?.length === 0);
    if (this.#isDone || status !== 200 || !Array.isArray(body.captures)) return false;
    const answers = await statesOf(this.#client, body.captures);
    if (answers === null) return false;
    await this.#captures.takeOver(body.captures, answers);
    [this.trouble, this.#failures] = [null, 0];
    this.#after = body.captures.at(-1).capture_id;
    return true;
  }
}
