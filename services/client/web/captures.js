/**
 * The captures that this browser knows, on its disk (IndexedDB) before anybody is told of them.
 *
 * Nothing here deletes a capture. All tabs of the browser share the database; one that changes it tells the others.
 *
 * @typedef {"saved" | "handed" | "pulled" | "stored" | "refused"} State how far a capture is on its way
 *
 * @typedef {object} Capture one event by the names of the client protocol, and what became of it
 * @property {string} capture_id
 * @property {number} pokemon_id
 * @property {string} pokemon_name
 * @property {"capture" | "favorite"} action
 * @property {boolean} removed
 * @property {string} timestamp
 * @property {number} at its place among all, in ms since 1970: the timestamp, or when it was taken over if that is less
 * @property {State} state
 * @property {string | null} saved_at null for one that was made elsewhere
 * @property {string | null} handed_at
 * @property {string | null} pulled_at
 * @property {string | null} stored_at
 * @property {string | null} refusal what the client said to it, while it is refused
 */

import { openDB } from "./web/vendor/idb/index.js";

const DATABASE = "pullsync";
const STORE = "captures";
const ID_BYTES = 8;
const RETURN_MS = 500;

/** Fires `change` after anything changed, here or in another tab. */
export class Captures extends EventTarget {
  /** @type {Map<string, Capture>} */
  #known = new Map();
  /** @type {Capture[] | null} */
  #sorted = null;
  /** @type {ReturnType<typeof openDB> | null} */
  #opening = null;
  #isReading = false;
  #isReadAgain = false;
  #otherTabs = new BroadcastChannel("pullsync-captures");

  /** All that is on the disk. Rejects when the browser keeps nothing for this page. */
  static async open() {
    const captures = new Captures();
    await captures.#reload();
    captures.#otherTabs.onmessage = () => captures.#readAgain();
    addEventListener("pageshow", ({ persisted }) => persisted && captures.#readAgain()); // it heard nothing in between
    return captures;
  }

  /** Oldest first. */
  all() {
    this.#sorted ??= [...this.#known.values()].sort((one, other) => one.at - other.at);
    return this.#sorted;
  }

  /** Those in one of these states, oldest first. */
  in(...states) {
    return this.all().filter(({ state }) => states.includes(state));
  }

  /**
   * Keep a new capture; when this resolves, it is on the disk. Its time is later than that of all others in this
   * browser, also when the clock was set back. Rejects when it can't be kept, and then nothing is.
   *
   * @param {Pick<Capture, "pokemon_id" | "pokemon_name" | "action" | "removed">} made
   * @returns {Promise<Capture>}
   */
  async add(made) {
    const [added] = await this.#write(async (store) => {
      const last = await store.index("by_time").openKeyCursor(null, "prev");
      const capture = newCapture(made, Math.max(Date.now(), (last?.key ?? 0) + 1));
      await store.add(capture);
      return [capture];
    });
    return added;
  }

  /** The oldest that waits to be handed over, whichever tab made it. */
  async nextToHandOver() {
    const waiting = IDBKeyRange.bound(["saved"], ["saved", []]);
    return (await this.#database()).getFromIndex(STORE, "by_state", waiting);
  }

  /** The client has it. */
  async handedOver(id) {
    const handed = { state: "handed", handed_at: new Date().toISOString(), refusal: null };
    await this.#update([id], ({ state }) => state === "saved" && handed);
  }

  /** The client does not take it as it is: it stays, and the others go on. */
  async refused(id, refusal) {
    await this.#update([id], ({ state }) => state === "saved" && { state: "refused", refusal });
  }

  /** Hand a refused one over again. */
  async tryAgain(id) {
    await this.#update([id], ({ state }) => state === "refused" && { state: "saved", refusal: null });
  }

  /**
   * Take in what the client said about the captures that it was asked for. One that it does not know any more is saved
   * here only, and is handed over again.
   *
   * @param {Capture[]} asked as they were when it was asked
   * @param {{capture_id: string, state: string, pulled_at: string | null, stored_at: string | null}[]} answers
   */
  async learn(asked, answers) {
    const said = new Map(answers.map((answer) => [answer.capture_id, answer]));
    const handed = new Map(asked.map(({ capture_id: id, handed_at: at }) => [id, at]));
    const news = ({ capture_id: id, state, handed_at: at }) => isUnderWay(state) && at === handed.get(id);
    await this.#update([...handed.keys()], (known) => news(known) && whereIs(said.get(known.capture_id)));
  }

  /**
   * Take over what the client has and this browser has not.
   *
   * @param {any[]} captures as in the client protocol
   * @param {Parameters<Captures["learn"]>[1]} answers what the client says about them
   */
  async takeOver(captures, answers) {
    const said = new Map(answers.map((answer) => [answer.capture_id, answer]));
    await this.#write(async (store) => {
      const missing = await Promise.all(captures.map(async (each) => !(await store.getKey(each.capture_id))));
      const taken = captures.filter((_, index) => missing[index]);
      const records = taken.map((each) => takenOver(each, said.get(each.capture_id)));
      await Promise.all(records.map((record) => store.add(record)));
      return records;
    });
  }

  async #reload() {
    const database = await this.#database();
    this.#known = new Map((await database.getAll(STORE)).map((capture) => [capture.capture_id, capture]));
    this.#changed();
  }

  /** Another tab has changed something; while that is read, what changes makes for one more reading. */
  async #readAgain() {
    this.#isReadAgain = true;
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#isReadAgain) {
      this.#isReadAgain = false;
      await this.#reload().catch(() => {}); // what was read last is still true, but old
    }
    this.#isReading = false;
  }

  #changed() {
    this.#sorted = null;
    this.dispatchEvent(new Event("change"));
  }

  async #update(ids, changeOf) {
    await this.#write(async (store) => {
      const found = (await Promise.all(ids.map((id) => store.get(id)))).filter(Boolean);
      const changed = found
        .map((capture) => [capture, changeOf(capture)])
        .filter(([capture, change]) => change && differs(capture, change))
        .map(([capture, change]) => ({ ...capture, ...change }));
      await Promise.all(changed.map((capture) => store.put(capture)));
      return changed;
    });
  }

  /** One transaction, on the disk when it is done; then this tab and the others are told. */
  async #write(change) {
    const transaction = (await this.#database()).transaction(STORE, "readwrite", { durability: "strict" });
    const [changed] = await Promise.all([change(transaction.store), transaction.done]);
    if (changed.length === 0) return changed;
    for (const capture of changed) this.#known.set(capture.capture_id, capture);
    this.#changed();
    this.#otherTabs.postMessage("changed");
    return changed;
  }

  #database() {
    this.#opening ??= openDB(DATABASE, 1, {
      upgrade(database) {
        const store = database.createObjectStore(STORE, { keyPath: "capture_id" });
        store.createIndex("by_time", "at");
        store.createIndex("by_state", ["state", "at"]);
      },
      blocking: (_current, _blocked, event) => this.#lost(/** @type {IDBDatabase} */ (event.target)),
      terminated: () => this.#lost(),
    }).catch((error) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  /** The database was taken away, as a rule since the user clears what this site keeps: what is left is shown. */
  #lost(database) {
    database?.close();
    this.#opening = null;
    this.#known = new Map();
    this.#changed();
    setTimeout(() => this.#readAgain(), RETURN_MS); // at once it can't be opened
  }
}

/** Whether the client has it, as far as is known, and it is not stored. */
export const isUnderWay = (state) => state === "handed" || state === "pulled";

/** @returns {Capture} */
function newCapture({ pokemon_id, pokemon_name, action, removed }, at) {
  const timestamp = new Date(at).toISOString();
  return {
    ...{ capture_id: `${pokemon_id}_${at}_${action}_${randomHex()}`, pokemon_id, pokemon_name, action, removed },
    ...{ timestamp, at, state: "saved", saved_at: new Date().toISOString() },
    ...{ handed_at: null, pulled_at: null, stored_at: null, refusal: null },
  };
}

/** @returns {Capture} */
function takenOver({ capture_id, pokemon_id, pokemon_name, action, timestamp, synced, metadata }, answer) {
  const removed = metadata?.removed === true;
  const at = Math.min(Date.parse(timestamp), Date.now()); // as for those who store it, a time to come counts as now
  const known = { state: synced ? "stored" : "handed", pulled_at: null, stored_at: null };
  return {
    ...{ capture_id, pokemon_id, pokemon_name, action, removed, timestamp, at, saved_at: null, handed_at: null },
    ...{ ...known, ...(answer && whereIs(answer)), refusal: null },
  };
}

/** What changes with the client's answer about a capture; undefined is for one that it does not know. */
function whereIs(answer) {
  if (answer === undefined) return { state: "saved", handed_at: null, pulled_at: null, stored_at: null };
  const { state, pulled_at, stored_at } = answer;
  return { state: state === "pending" ? "handed" : state, pulled_at, stored_at };
}

const differs = (capture, change) => Object.entries(change).some(([name, value]) => capture[name] !== value);

/** By what there is without a secure context, too, as at `http://192.168.1.2`. */
function randomHex() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(ID_BYTES))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
