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
 * @property {number} at its place among all, in ms since 1970: the timestamp, or when it was pulled if that is less; of
 *   one that was made elsewhere and not pulled, when it was taken over if that is less
 * @property {State} state
 * @property {string | null} saved_at null for one that was made elsewhere
 * @property {string | null} handed_at
 * @property {string | null} pulled_at
 * @property {string | null} stored_at
 * @property {string | null} refusal what the client said to it, while it is refused
 *
 * @typedef {{error: Error, since: string}} Trouble why the disk can't be used, and since when
 */

import { Disk } from "./disk.js";
import { Tabs } from "./tabs.js";

const ID_BYTES = 8;
const FIRST_RETURN_MS = 500;
const LONGEST_RETURN_MS = 15_000;
const TOGETHER_MS = 100;
/** @type {Record<string, State>} what the client says, in our words */
const SAID = { pending: "handed", pulled: "pulled", stored: "stored" };

/** Fires `change` after anything changed, here or in another tab; what changes soon after is told together. */
export class Captures extends EventTarget {
  /** @type {Trouble | null} while what is on the disk can't be read; until it can, the captures are those read last */
  trouble = null;
  /** @type {Map<string, Capture>} */
  #known = new Map();
  /** @type {Capture[] | null} */
  #sorted = null;
  #disk = new Disk(() => this.#returnAfter(FIRST_RETURN_MS));
  #otherTabs = new Tabs((ids) => this.#readAgain(ids));
  #timer = 0;
  #isToTell = false;

  /** All that is on the disk. Rejects when the browser keeps nothing for this page. */
  static async open() {
    const captures = new Captures();
    await captures.#reload();
    addEventListener("pageshow", ({ persisted }) => persisted && captures.#returnAfter(0)); // it heard nothing
    return captures;
  }

  /** Oldest first; the same list until something changes. */
  all() {
    if (this.#sorted === null) {
      this.#sorted = [...this.#known.values()].sort(byPlace);
      this.#known = byId(this.#sorted); // what is nearly sorted is sorted soon
    }
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
    return this.#disk.oldest("saved");
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
    const said = byId(answers);
    const handed = new Map(asked.map(({ capture_id: id, handed_at: at }) => [id, at]));
    const news = ({ capture_id: id, state, handed_at: at }) => isUnderWay(state) && at === handed.get(id);
    await this.#update([...handed.keys()], (known) => news(known) && changeBy(said.get(known.capture_id), known));
  }

  /**
   * Take over what the client has and this browser has not.
   *
   * @param {any[]} captures as in the client protocol
   * @param {Parameters<Captures["learn"]>[1]} answers what the client says about them
   */
  async takeOver(captures, answers) {
    const said = byId(answers);
    const now = Date.now();
    await this.#write(async (store) => {
      const missing = await Promise.all(captures.map(async (each) => !(await store.getKey(each.capture_id))));
      const taken = captures.filter((_, index) => missing[index]);
      const records = taken.map((each) => takenOver(each, said.get(each.capture_id), now));
      await Promise.all(records.map((record) => store.add(record)));
      return records;
    });
  }

  async #reload() {
    this.#known = byId(await this.#disk.all());
    this.#changed();
  }

  async #readAgain(ids) {
    this.#learnt(await this.#disk.some(ids));
  }

  /** Read all once that can be done; what is gone then, as a rule since the user cleared it, is shown no more. */
  #returnAfter(pauseMs) {
    setTimeout(async () => {
      try {
        await this.#reload();
        this.trouble = null;
      } catch (error) {
        this.trouble = { error, since: this.trouble?.since ?? new Date().toISOString() };
        this.#returnAfter(Math.min(Math.max(2 * pauseMs, FIRST_RETURN_MS), LONGEST_RETURN_MS));
      }
      this.#changed();
    }, pauseMs);
  }

  #learnt(captures) {
    for (const capture of captures) this.#known.set(capture.capture_id, capture);
    this.#changed();
  }

  #changed() {
    this.#sorted = null;
    this.#isToTell = true;
    if (this.#timer === 0) this.#tell();
  }

  #tell() {
    this.#timer = 0;
    if (!this.#isToTell) return;
    this.#isToTell = false;
    this.#timer = setTimeout(() => this.#tell(), TOGETHER_MS);
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

  /** On the disk first; then this tab and the others are told. */
  async #write(change) {
    const changed = await this.#disk.write(change);
    if (changed.length === 0) return changed;
    this.#learnt(changed);
    this.#otherTabs.tell(changed.map(({ capture_id: id }) => id));
    return changed;
  }
}

/** Whether the client has it, as far as is known, and it is not stored. */
const isUnderWay = (state) => state === "handed" || state === "pulled";

const byId = (captures) => new Map(captures.map((each) => [each.capture_id, each]));

/** As those order them who store them. */
function byPlace(one, other) {
  return one.at - other.at || order(one.timestamp, other.timestamp) || order(one.capture_id, other.capture_id);
}

const order = (one, other) => Number(one > other) - Number(one < other);

/** @returns {Capture} */
function newCapture({ pokemon_id, pokemon_name, action, removed }, at) {
  return {
    capture_id: `${pokemon_id}_${at}_${action}_${randomHex()}`,
    pokemon_id,
    pokemon_name,
    action,
    removed,
    timestamp: new Date(at).toISOString(),
    at,
    state: "saved",
    saved_at: new Date().toISOString(),
    handed_at: null,
    pulled_at: null,
    stored_at: null,
    refusal: null,
  };
}

/** @returns {Capture} */
function takenOver({ capture_id, pokemon_id, pokemon_name, action, timestamp, synced, metadata }, answer, now) {
  const removed = metadata?.removed === true;
  return {
    capture_id,
    pokemon_id,
    pokemon_name,
    action,
    removed,
    timestamp,
    at: Math.min(Date.parse(timestamp), now), // as for those who store it, a time to come counts as now
    state: synced ? "stored" : "handed",
    saved_at: null,
    handed_at: null,
    pulled_at: null,
    stored_at: null,
    refusal: null,
    ...(answer && whereIs(answer, timestamp)),
  };
}

/** What changes with the client's answer about a capture; undefined is for one that it does not know. */
function changeBy(answer, { timestamp }) {
  return answer ? whereIs(answer, timestamp) : { state: "saved", handed_at: null, pulled_at: null, stored_at: null };
}

/** By the client's answer; nothing, when that is a word of a newer client. */
function whereIs({ state, pulled_at, stored_at }, timestamp) {
  if (!Object.hasOwn(SAID, state)) return null;
  const at = Math.min(Date.parse(timestamp), Date.parse(pulled_at)); // as for those who store it
  return { state: SAID[state], pulled_at, stored_at, ...(Number.isNaN(at) ? {} : { at }) };
}

const differs = (capture, change) => Object.entries(change).some(([name, value]) => capture[name] !== value);

/** By what there is without a secure context, too, as at `http://192.168.1.2`. */
function randomHex() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(ID_BYTES))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
