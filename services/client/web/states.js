/** Follows what becomes of the captures that the client has: whether they were pulled, and stored. */

const MOST_IDS = 1_000;
const QUICK_MS = 1_000;
const SLOW_MS = 5_000;

export class States {
  #captures;
  #client;
  #pauseMs = QUICK_MS;

  /**
   * @param {{captures: import("./captures.js").Captures, client: import("./client.js").Client}} parts
   */
  constructor({ captures, client }) {
    this.#captures = captures;
    this.#client = client;
  }

  /** Ask for all that is under way, and tell after how many milliseconds to ask again: sooner after there was news. */
  async step() {
    const before = this.#summary();
    const asked = this.#captures.in("handed", "pulled");
    for (let first = 0; first < asked.length; first += MOST_IDS) {
      if (!(await this.#learn(asked.slice(first, first + MOST_IDS)))) break;
    }
    this.#pauseMs = this.#summary() === before ? Math.min(this.#pauseMs * 1.5, SLOW_MS) : QUICK_MS;
    return this.#pauseMs;
  }

  /** Something was handed over: ask soon. */
  hurry() {
    this.#pauseMs = QUICK_MS;
  }

  async #learn(asked) {
    const answers = await statesOf(this.#client, asked);
    if (answers !== null) await this.#captures.learn(asked, answers);
    return answers !== null;
  }

  #summary() {
    return ["handed", "pulled", "stored"].map((state) => this.#captures.in(state).length).join();
  }
}

/** What the client says about these, at most 1,000; null when it says nothing. */
export async function statesOf(client, captures) {
  const { status, body } = await client.ask("capture-states", { capture_ids: captures.map((each) => each.capture_id) });
  return status === 200 && Array.isArray(body.captures) ? body.captures : null;
}
