/** Follows what becomes of the captures that the client has: whether they were pulled, and stored. */

const MOST_IDS = 1_000;
const QUICK_MS = 1_000;
const SLOW_MS = 5_000;

/** Asks for the newest that are under way each time, and for the others by turns. */
export class States {
  #captures;
  #client;
  #pauseMs = QUICK_MS;
  #turn = 0;

  /**
   * @param {{captures: import("./captures.js").Captures, client: import("./client.js").Client}} parts
   */
  constructor({ captures, client }) {
    this.#captures = captures;
    this.#client = client;
  }

  /** Ask, and tell after how many milliseconds to ask again: sooner after there was news. Never rejects. */
  async step() {
    const before = this.#summary();
    for (const some of this.#inTurn()) {
      if (!(await this.#learn(some))) break;
    }
    this.#pauseMs = this.#summary() === before ? Math.min(this.#pauseMs * 1.5, SLOW_MS) : QUICK_MS;
    return this.#pauseMs;
  }

  /** Each at most as many as may be asked for at once, and none empty. */
  #inTurn() {
    const underWay = this.#captures.in("handed", "pulled");
    const others = underWay.slice(0, -MOST_IDS);
    const first = this.#turn < others.length ? this.#turn : 0;
    this.#turn = first + MOST_IDS;
    return [underWay.slice(-MOST_IDS), others.slice(first, this.#turn)].filter((some) => some.length > 0);
  }

  /** Whether the client's answer was learnt. */
  async #learn(captures) {
    const answers = await statesOf(this.#client, captures);
    if (answers === null) return false;
    try {
      await this.#captures.learn(captures, answers);
      return true;
    } catch {
      return false; // it could not be written; the client says it again
    }
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
