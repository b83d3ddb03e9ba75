/** Brings in what the client has beyond this browser: made elsewhere, or before this browser's storage was cleared. */

import { statesOf } from "./states.js";

const PAGE = 1_000;

/**
 * Page by page. May be repeated.
 *
 * @param {{captures: import("./captures.js").Captures, client: import("./client.js").Client}} parts
 * @returns {Promise<"done" | "closed" | "failed">} `closed` where only pullers, who have a token, may read all captures
 */
export async function takeOver({ captures, client }) {
  let after = "";
  for (;;) {
    const { status, body } = await client.ask(`all-captures?limit=${PAGE}&after=${encodeURIComponent(after)}`);
    if (status === 401) return "closed";
    if (status !== 200 || !Array.isArray(body.captures)) return "failed";
    if (body.captures.length === 0) return "done";
    const answers = await statesOf(client, body.captures);
    if (answers === null) return "failed";
    await captures.takeOver(body.captures, answers);
    after = body.captures.at(-1).capture_id;
  }
}
