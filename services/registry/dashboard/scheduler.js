/** The timer: whether it runs, how often, how late; start, stop, set. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { number } from "./web/format.js";
import { act, actButton, asked } from "./acting.js";
import { PULL_SYNC, call } from "./api.js";
import { may } from "./state.js";
import { t } from "./texts.js";
import { facts, lasting, when } from "./widgets.js";

const SHORTEST_S = 5;
const LONGEST_S = 86_400;

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
    <form class="line" @submit=${setInterval}>
      <label for="interval">${t("new_interval")}</label>
      <input id="interval" name="interval" type="number" inputmode="numeric" required
        min=${SHORTEST_S} max=${LONGEST_S} value=${status.sync_interval}>
      <button>${t("set")}</button>
    </form>`;
}

async function start() {
  await call("POST", `${PULL_SYNC}/scheduler/start`);
  return t("timer_was_started");
}

async function stop() {
  const isMeant = await asked({ title: t("stop_timer_asked"), text: t("stop_timer_means"), yes: t("stop_timer") });
  if (!isMeant) return undefined;
  await call("POST", `${PULL_SYNC}/scheduler/stop`);
  return t("timer_was_stopped");
}

function setInterval(event) {
  event.preventDefault();
  const form = event.target;
  act("interval", async () => {
    const interval = Number(form.elements.interval.value);
    await call("POST", `${PULL_SYNC}/scheduler/set-interval`, { body: { interval } });
    form.reset();
    return t("interval_was_set", { interval: number(interval) });
  });
}
