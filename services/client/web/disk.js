/** The browser's database of captures: opened when it is needed, and again when it was taken away. */

import { openDB } from "./web/vendor/idb/index.js";

const DATABASE = "pullsync";
const STORE = "captures";

/** Each method rejects when the database can't be opened, read or written. */
export class Disk {
  /** @type {ReturnType<typeof openDB> | null} */
  #opening = null;
  #lost;

  /** @param {() => void} lost is called when the database was taken away; at once it can't be opened again */
  constructor(lost) {
    this.#lost = lost;
  }

  /** All captures, in no order. */
  async all() {
    return this.#transact("readonly", (store) => store.getAll());
  }

  /** Those of these ids that there are. */
  async some(ids) {
    const found = await this.#transact("readonly", (store) => Promise.all(ids.map((id) => store.get(id))));
    return found.filter(Boolean);
  }

  /** The oldest in a state; undefined when there is none. */
  async oldest(state) {
    const range = IDBKeyRange.bound([state], [state, []]);
    return this.#transact("readonly", (store) => store.index("by_state").get(range));
  }

  /** One transaction; when this resolves, to what `change` has resolved to, it is on the disk. */
  async write(change) {
    return this.#transact("readwrite", change);
  }

  /** To its end, for reading as well: an end that nobody waits for would be an error that nobody catches. */
  async #transact(mode, work) {
    const transaction = (await this.#database()).transaction(STORE, mode, { durability: "strict" });
    const [done] = await Promise.all([work(transaction.store), transaction.done]);
    return done;
  }

  #database() {
    this.#opening ??= openDB(DATABASE, 1, {
      upgrade(database) {
        const store = database.createObjectStore(STORE, { keyPath: "capture_id" });
        store.createIndex("by_time", "at");
        store.createIndex("by_state", ["state", "at"]);
      },
      blocking: (_current, _blocked, event) => this.#leave(/** @type {IDBDatabase} */ (event.target)),
      terminated: () => this.#leave(),
    }).catch((error) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  #leave(database) {
    database?.close();
    this.#opening = null;
    this.#lost();
  }
}
