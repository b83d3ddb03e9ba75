/** Sync runs: start, follow, cancel, and who failed. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, confirmed } from "./acting.js";
import { PULL_SYNC, call } from "./api.js";
import { differences } from "./run_clients.js";
import { earlierRuns, withEarlier } from "./run_history.js";
import { may, state } from "./state.js";
import { t } from "./texts.js";
import { lasting, none, runBadge, waiting, when } from "./widgets.js";

const STARTS = [
  ["all", "/sync-all-background", []],
  // To wait for its end is not needed here, where it is seen as it goes on.
  ["recent", "/sync-recent", [["wait_s", "0"]]],
  ["complete", "/sync-complete-state", []],
];

export const runs = {
  title: () => t("runs"),
  topics: () => [["topics", "runs"]],
  render: () => html`
    ${may("operate") ? starts() : nothing}
    ${state.heard.runs ? html`${runList(withEarlier(state.heard.runs))}${earlierRuns(state.heard.runs)}` : waiting()}`,
};

function starts() {
  return html`<section class="card" aria-labelledby="start-title">
    <h2 id="start-title">${t("start_run")}</h2>
    <ul class="starts" role="list">
      ${STARTS.map(
        ([name, path, query], index) => html`<li>
        ${actButton(`start-${name}`, t(`start_${name}`), () => start(name, path, query), {
          kind: index ? "" : "primary",
        })}
        <span class="muted">${t(`start_${name}_means`)}</span>
      </li>`,
      )}
    </ul>
  </section>`;
}

async function start(name, path, query) {
  await call("POST", `${PULL_SYNC}${path}`, { query });
  return t(`started_${name}`);
}

/** @param {object[]} shown runs, as the registry has them; short without what can be done. */
export function runList(shown, { isShort = false } = {}) {
  if (!shown.length) return none(t("no_runs"));
  return html`<ul class="runs" role="list">
    ${repeat(
      shown,
      (run) => run.run_id,
      (run) => html`<li class=${isShort ? "" : "card"}>${oneRun(run, isShort)}</li>`,
    )}
  </ul>`;
}

function oneRun(run, isShort) {
  const name = `run-${run.run_id}`;
  const title = html`${t(`kind_${run.kind}`)} ${runBadge(run)}`;
  const isRunning = run.state === "running";
  return html`
    <div class="line">
      ${isShort ? html`<h3 id=${name}>${title}</h3>` : html`<h2 id=${name}>${title}</h2>`}
      <span class="muted">${when(run.created_at)}</span>
    </div>
    <progress aria-labelledby=${name} max=${run.requested || 1} value=${run.requested ? run.settled : 1}></progress>
    <p class="muted">
      ${t("run_so_far", { settled: run.settled, count: run.requested })}${isRunning ? timeLeft(run) : nothing}
    </p>
    <p>${outcome(run)}</p>
    ${run.kind === "sync-complete-state" ? html`<p>${compared(run)}</p>` : nothing}
    ${isShort ? nothing : html`${isRunning && may("operate") ? cancelling(run) : nothing}${differences(run)}`}`;
}

function outcome(run) {
  const failed = html` · <span class="bad">${t("run_failed", { count: run.failed })}</span> ${reasons(run)}`;
  const cancelled = ` · ${t("run_cancelled_clients", { count: run.cancelled })}`;
  return [t("run_stored", { count: run.stored }), run.failed ? failed : nothing, run.cancelled ? cancelled : nothing];
}

const cancelling = (run) => html`<div class="buttons">
  ${actButton(`cancel-${run.run_id}`, t("cancel_run"), () => cancel(run))}
</div>`;

const timeLeft = (run) =>
  ` · ${run.time_left_s === null ? t("no_rate_yet") : t("time_left", { time: lasting(run.time_left_s) })}`;

function reasons(run) {
  const entries = Object.entries(run.failed_by_reason ?? {});
  if (!entries.length) return nothing;
  const one = ([reason, count], index) => html`${index ? ", " : ""}<code>${reason}</code> ${number(count)}`;
  return html`(${entries.map(one)})`;
}

function compared(run) {
  const { missing, unknown, deleted } = run;
  return missing || unknown ? t("run_compared", { missing, unknown, deleted }) : t("run_compared_same");
}

async function cancel(run) {
  const isMeant = await confirmed({ title: t("cancel_run_asked"), text: t("cancel_run_means"), yes: t("cancel_run") });
  if (!isMeant) return undefined;
  const { cancelled } = await call("POST", `${PULL_SYNC}/runs/${run.run_id}/cancel`);
  return t("run_was_cancelled", { count: cancelled });
}
