/** Runs before the latest ones, which are live: shown below them when asked for. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { actButton } from "./acting.js";
import { PULL_SYNC, callForPage } from "./api.js";
import { t } from "./texts.js";

const PAGE = "20";
const LIVE = 10;

/** All that were seen, by id, also those that were live once. */
const seen = new Map();
let isAsked = false;
let hasMore = true;

/** The live runs, and when they were asked for those before. */
export function withEarlier(live) {
  for (const run of live) seen.set(run.run_id, run);
  if (!isAsked) return live;
  return [...seen.values()].sort((one, other) => Date.parse(other.created_at) - Date.parse(one.created_at));
}

/** The button that asks for more. */
export function earlierRuns(live) {
  if (live.length < LIVE || !hasMore) return nothing;
  const last = withEarlier(live).at(-1);
  return html`<p class="buttons">${actButton("earlier-runs", t("earlier_runs"), () => ask(last))}</p>`;
}

async function ask(last) {
  const { data, next } = await callForPage("GET", `${PULL_SYNC}/runs`, {
    query: [
      ["limit", PAGE],
      ["before", last.run_id],
    ],
  });
  for (const run of data) seen.set(run.run_id, run);
  isAsked = true;
  hasMore = next !== null;
}
