/** The timer: whether it runs, how often, how late; start, stop, set. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { number } from "./web/format.js";
import { actButton, confirmed } from "./acting.js";
import { PULL_SYNC, call } from "./api.js";
import { intervalForm } from "./interval_form.js";
import { may } from "./state.js";
import { t } from "./texts.js";
import { facts, lasting, when } from "./widgets.js";

/** @param {object} status as `scheduler/status` has it. */
export function schedulerCard(status) {
  return html`<section class="card" aria-labelledby="scheduler-title">
    <header class="line">
      <h2 id="scheduler-title">${t("scheduler")}</h2>
      ${
        status.running
          ? html`<span class="badge good">${t("timer_running")}</span>`
          : html`<span class="badge warn">${t("timer_stopped")}</span>`
      }
    </header>
    ${status.running ? nothing : html`<p class="muted">${t("timer_stopped_means")}</p>`}
    ${facts([
      [t("interval"), t("every_seconds", { count: status.sync_interval })],
      [t("lag"), lasting(status.lag_s)],
      [t("last_cleanup"), when(status.last_cleanup)],
    ])}
    ${may("operate") ? controls(status) : nothing}
  </section>`;
}

function controls(status) {
  return html`<div class="buttons">
      ${
        status.running
          ? actButton("timer", t("stop_timer"), stop)
          : actButton("timer", t("start_timer"), start, { kind: "primary" })
      }
    </div>
    ${intervalForm({
      key: "interval",
      id: "interval",
      label: t("new_interval"),
      value: status.sync_interval,
      set: setTimer,
    })}`;
}

async function start() {
  await call("POST", `${PULL_SYNC}/scheduler/start`);
  return t("timer_was_started");
}

async function stop() {
  const isMeant = await confirmed({ title: t("stop_timer_asked"), text: t("stop_timer_means"), yes: t("stop_timer") });
  if (!isMeant) return undefined;
  await call("POST", `${PULL_SYNC}/scheduler/stop`);
  return t("timer_was_stopped");
}

async function setTimer(interval) {
  await call("POST", `${PULL_SYNC}/scheduler/set-interval`, { body: { interval } });
  return t("interval_was_set", { interval: number(interval) });
}
