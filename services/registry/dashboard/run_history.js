/** Runs before the latest ones, which are live: shown below them when asked for, and looked at while they go on. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { actButton, troubleOf } from "./acting.js";
import { PULL_SYNC, call, callForPage } from "./api.js";
import { changed } from "./state.js";
import { t } from "./texts.js";

const PAGE = "20";
const LIVE = 10;
const LOOK_EVERY_MS = 3_000;

/** What is known: `seen` has all runs by id, also those that were live once, without a gap between them. */
let known = unknown();

function unknown() {
  return { seen: new Map(), isAsked: false, hasMore: true, lookedAt: 0 };
}

/** To be asked for anew. */
export function forgetRuns() {
  known = unknown();
}

/** The live runs, and when they were asked for those before. */
export function withEarlier(live) {
  // Between runs that are all new and those of before there may be others, which nobody has seen.
  if (!live.some((run) => known.seen.has(run.run_id))) forgetRuns();
  for (const run of live) known.seen.set(run.run_id, run);
  if (!known.isAsked) return live;
  if (Date.now() - known.lookedAt > LOOK_EVERY_MS) look(new Set(live.map((run) => run.run_id)));
  return [...known.seen.values()].sort((one, other) => Date.parse(other.created_at) - Date.parse(one.created_at));
}

/** The button that asks for more. */
export function earlierRuns(live) {
  if (live.length < LIVE || !known.hasMore) return nothing;
  const last = withEarlier(live).at(-1);
  return html`<p class="buttons">${actButton("earlier-runs", t("earlier_runs"), () => ask(last))}</p>`;
}

async function ask(last) {
  const mine = known;
  const query = [
    ["limit", PAGE],
    ["before", last.run_id],
  ];
  const { data, next } = await callForPage("GET", `${PULL_SYNC}/runs`, { query });
  for (const run of data) mine.seen.set(run.run_id, run);
  mine.isAsked = true;
  mine.hasMore = next !== null;
}

/** Runs that go on and are not live are asked for one by one: there are few. */
async function look(live) {
  const mine = known;
  mine.lookedAt = Date.now();
  const running = [...mine.seen.values()].filter((run) => run.state === "running" && !live.has(run.run_id));
  await Promise.all(running.map((run) => lookAt(run, mine)));
}

async function lookAt(run, mine) {
  try {
    mine.seen.set(run.run_id, await call("GET", `${PULL_SYNC}/runs/${run.run_id}`));
  } catch (error) {
    if (error.status === 404) mine.seen.delete(run.run_id);
    else troubleOf(error); // the stream says when the registry is away
  }
  changed();
}
