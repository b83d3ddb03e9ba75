/** The registry's ranking, as the client passes it on. */

const EVERY_MS = 5_000;
const MOST = 10;

/** What was told last is kept while nothing new can be told. */
export class Ranking {
  /** @type {{pokemon_id: number, pokemon_name: string, favorite_count: number}[]} */
  entries = [];
  /** @type {string | null} when the registry said so */
  asOf = null;
  /** The client's words why it can't be told now. */
  problem = "";
  #client;

  /** @param {{client: import("./client.js").Client}} parts */
  constructor({ client }) {
    this.#client = client;
  }

  /** Ask once, and tell after how many milliseconds to ask again. */
  async step() {
    const { status, body } = await this.#client.ask(`ranking?limit=${MOST}`);
    if (status === 200 && Array.isArray(body.ranking)) {
      [this.entries, this.asOf, this.problem] = [body.ranking.filter(canBeShown), timeOrNull(body.as_of), ""];
    } else {
      this.problem = status === 0 ? "" : (body.error ?? `HTTP ${status}`); // that it is silent is said elsewhere
    }
    return EVERY_MS;
  }
}

/** Another version of the client, or who answers in its place, may have any form of entries. */
function canBeShown(entry) {
  const numbers = [entry?.pokemon_id, entry?.favorite_count];
  return typeof entry?.pokemon_name === "string" && numbers.every(Number.isInteger);
}

const timeOrNull = (said) => (Number.isNaN(Date.parse(said)) ? null : said);
