/** Small parts that several views show. Text that comes from elsewhere is only ever text: lit-html escapes it. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { ago, duration, moment, number } from "./web/format.js";
import { now } from "./api.js";
import { t } from "./texts.js";

const CLIENT_TONES = { active: "good", failing: "bad", inactive: "warn", paused: "info" };
const RUN_TONES = { running: "info", finished: "good", cancelled: "warn" };

/** A client's state in a word. */
export const clientBadge = (state) => html`<span class="badge ${CLIENT_TONES[state]}">${t(`state_${state}`)}</span>`;

/** A run's state in a word; one that finished with failures is not good. */
export function runBadge(run) {
  const tone = run.state === "finished" && run.failed ? "bad" : RUN_TONES[run.state];
  const word = run.state === "finished" && run.failed ? "run_finished_with_failures" : `run_${run.state}`;
  return html`<span class="badge ${tone}">${t(word)}</span>`;
}

/** How long ago, or in how long; the exact time is told when asked for. */
export function when(iso) {
  if (!iso) return html`<span class="muted">–</span>`;
  return html`<time datetime=${iso} title=${moment(iso)}>${ago(iso, now())}</time>`;
}

/** A duration, or a dash where there is none. */
export const lasting = (seconds) => (seconds === null || seconds === undefined ? "–" : duration(seconds));

/** Names and values; rows without a value, `nothing`, are left out. */
export function facts(rows) {
  const shown = rows.filter(([, value]) => value !== nothing);
  return html`<dl class="facts">
    ${shown.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** A cell that tells on a phone, where the table is one of cards, which column it is of. */
export function cell(column, content, kind = "") {
  return html`<td role="cell" class=${kind} data-column=${column}><div>${content}</div></td>`;
}

/** A cell with a number, which a card on a phone leaves out when it is none. */
export const countCell = (column, count, written = number(count)) =>
  cell(column, written, count ? "number" : "number zero");

/** A table which is one of cards on a phone; its roles are said, as some browsers forget them then. */
export function cards(caption, columns, rows) {
  return html`<table class="cards" role="table">
    <caption class="unseen">${caption}</caption>
    <thead role="rowgroup"><tr role="row">
      ${columns.map(([name, kind = ""]) => html`<th role="columnheader" scope="col" class=${kind}>${name}</th>`)}
    </tr></thead>
    <tbody role="rowgroup">${rows}</tbody>
  </table>`;
}

/** What stands where something is on its way. */
export const waiting = () => html`<p class="muted waiting">${t("loading")}</p>`;

/** What stands where there is nothing. */
export const none = (text) => html`<p class="muted none">${text}</p>`;
