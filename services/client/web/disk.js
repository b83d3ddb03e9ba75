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
    return (await this.#database()).getAll(STORE);
  }

  /** Those of these ids that there are. */
  async some(ids) {
    const { store } = (await this.#database()).transaction(STORE);
    return (await Promise.all(ids.map((id) => store.get(id)))).filter(Boolean);
  }

  /** The oldest in a state; undefined when there is none. */
  async oldest(state) {
    return (await this.#database()).getFromIndex(STORE, "by_state", IDBKeyRange.bound([state], [state, []]));
  }

  /** One transaction; when this resolves, to what `change` has resolved to, it is on the disk. */
  async write(change) {
    const transaction = (await this.#database()).transaction(STORE, "readwrite", { durability: "strict" });
    const [changed] = await Promise.all([change(transaction.store), transaction.done]);
    return changed;
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
