/** The tabs of this browser tell each other which captures they have changed. */

const CHANNEL = "pullsync-captures";

/** What is heard while the captures heard of before are read, is read together. */
export class Tabs {
  #channel = new BroadcastChannel(CHANNEL);
  #read;
  #heard = new Set();
  #isReading = false;

  /** @param {(ids: string[]) => Promise<void>} read captures that another tab has changed, from the disk */
  constructor(read) {
    this.#read = read;
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** These are another thing on the disk now. */
  tell(ids) {
    this.#channel.postMessage(ids);
  }

  async #hear(ids) {
    for (const id of ids) this.#heard.add(id);
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#heard.size > 0 && (await this.#readAll()));
    this.#isReading = false;
  }

  /** Whether they could be read; those that could not are read with the next that are heard of. */
  async #readAll() {
    const ids = [...this.#heard];
    this.#heard.clear();
    try {
      await this.#read(ids);
      return true;
    } catch {
      for (const id of ids) this.#heard.add(id);
      return false;
    }
  }
}
