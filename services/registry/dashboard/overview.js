/** The first view: how the whole of it does. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { compact, number, share } from "./web/format.js";
import { rankingList } from "./web/ranking.js";
import { hourOfPulls } from "./hour.js";
import { clientsLink } from "./routes.js";
import { runList } from "./runs.js";
import { schedulerCard } from "./scheduler.js";
import { state } from "./state.js";
import { t } from "./texts.js";
import { lasting, none, waiting } from "./widgets.js";

const RUNS_SHOWN = 3;

export const overview = {
  title: () => t("overview"),
  topics: () => ["minutes", "runs", "ranking", "queues"].map((topic) => ["topics", topic]),
  render: () => html`
    ${state.heard.queues ? deadLetters(state.heard.queues) : nothing}
    ${state.heard.status ? numbers(state.heard.status) : waiting()}
    <div class="columns">
      <div class="stack">
        ${hourOfPulls(state.heard.minutes)}
      </div>
      <div class="stack">
        ${state.heard.status ? schedulerCard(state.heard.status) : nothing}
        <section class="card" aria-labelledby="latest-runs">
          <header class="line">
            <h2 id="latest-runs">${t("latest_runs")}</h2>
            <a href="#/runs">${t("all_runs")}</a>
          </header>
          ${state.heard.runs ? runList(state.heard.runs.slice(0, RUNS_SHOWN), { isShort: true }) : waiting()}
        </section>
        <section class="card" aria-labelledby="ranking-title">
          <h2 id="ranking-title">${t("ranking")}</h2>
          ${state.heard.ranking ? ranking(state.heard.ranking) : waiting()}
        </section>
      </div>
    </div>`,
};

function numbers(status) {
  const { recent } = status;
  return html`<section aria-labelledby="numbers-title">
    <h2 id="numbers-title" class="unseen">${t("numbers")}</h2>
    <ul class="tiles" role="list">
      ${stateTile("", status.registered_clients)}
      ${["active", "failing", "inactive", "paused"].map((name) => stateTile(name, status[`${name}_clients`]))}
      ${tile(t("captures_stored"), compact(status.stored_captures), number(status.stored_captures))}
      ${tile(t("captures_pending"), compact(status.pending_captures), number(status.pending_captures))}
      ${tile(t("in_flight"), number(status.in_flight))}
      ${tile(t("success_rate"), recent.success_rate === null ? "–" : share(recent.success_rate))}
      ${tile(t("lag"), lasting(status.lag_s))}
    </ul>
  </section>`;
}

/** What lies there waits for somebody, so it is said where he looks first. */
function deadLetters({ queues, problem }) {
  if (problem) return unknownDeadLetters();
  const dead = queues.filter((queue) => queue.kind === "dead").reduce((all, queue) => all + queue.messages, 0);
  if (!dead) return nothing;
  const text = t("dead_letters_lie", { count: dead });
  return html`<p class="notice bad">${text} <a href="#/queues">${t("dead_letters")}</a></p>`;
}

const unknownDeadLetters = () => html`<p class="notice">
  ${t("dead_letters_unknown")} <a href="#/queues">${t("queues")}</a></p>`;

function stateTile(name, count) {
  return html`<li class="tile ${name} ${count ? "" : "none"}"><a href=${clientsLink({ state: name })}>
    <span class="value">${number(count)}</span>
    <span class="name">${t(name ? `clients_${name}` : "clients_registered")}</span>
  </a></li>`;
}

function tile(name, value, exact = value) {
  return html`<li class="tile"><div title=${exact}>
    <span class="value">${value}</span> <span class="name">${name}</span>
  </div></li>`;
}

function ranking(entries) {
  if (!entries.length) return none(t("no_ranking"));
  return rankingList(entries, (count) => t("holders", { count }));
}
