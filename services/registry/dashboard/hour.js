/** The last hour in three small plots: throughput, latency, failures; each is a sentence, too, and a table if asked. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { compact, duration, number, timeOfDay } from "./web/format.js";
import "./plots.js";
import { changed } from "./state.js";
import { t } from "./texts.js";
import { lasting, waiting } from "./widgets.js";

const REASONS_SHOWN = 4;
const REASON_COLOURS = ["--bad", "--warn", "--info", "--good", "--muted"];

/** Which tables are open. */
const open = new Set();

/** What is drawn of an answer. */
const drawings = new WeakMap();

/** @param {object[] | undefined} minutes as the registry has them, the oldest first. */
export function hourOfPulls(minutes) {
  if (!minutes) return waiting();
  return html`${throughput(minutes)}${latency(minutes)}${failures(minutes)}`;
}

function throughput(minutes) {
  const pulls = sum(minutes, "pulls");
  const busiest = minutes.reduce((best, minute) => (minute.stored_captures > best.stored_captures ? minute : best));
  const [captures, most] = [sum(minutes, "stored_captures"), busiest.stored_captures];
  return figure({
    name: "throughput",
    minutes,
    series: [
      { label: t("captures_a_minute"), colour: "--accent", isFilled: true },
      { label: t("pulls_a_minute"), colour: "--info", isDashed: true },
    ],
    columns: [(minute) => minute.stored_captures, (minute) => minute.pulls],
    write: compact,
    said: captures
      ? t("throughput_said", { pulls, captures, most, at: timeOfDay(busiest.minute) })
      : t(pulls ? "nothing_stored" : "no_pulls", { count: pulls }),
  });
}

function latency(minutes) {
  const known = minutes.filter((minute) => minute.duration_p99_s !== null);
  const slowest = known.reduce(
    (worst, minute) => (minute.duration_p99_s > worst.duration_p99_s ? minute : worst),
    known[0],
  );
  return figure({
    name: "latency",
    minutes,
    series: [
      { label: t("median"), colour: "--accent" },
      { label: t("p99"), colour: "--warn", isDashed: true },
    ],
    columns: [(minute) => minute.duration_median_s, (minute) => minute.duration_p99_s],
    write: lasting,
    said: slowest
      ? t("latency_said", {
          median: duration(known.at(-1).duration_median_s),
          p99: duration(known.at(-1).duration_p99_s),
          worst: duration(slowest.duration_p99_s),
          at: timeOfDay(slowest.minute),
        })
      : t("no_pulls"),
  });
}

function failures(minutes) {
  const [pulls, failed] = [sum(minutes, "pulls"), sum(minutes, "failed")];
  const reasons = commonest(minutes);
  const columns = reasons.map(
    ({ names }) =>
      (minute) =>
        names.reduce((all, name) => all + (minute.failed_by_reason[name] ?? 0), 0),
  );
  const said = failed
    ? t("failures_said", {
        count: pulls,
        failed,
        reasons: reasons.map(({ label, count }) => `${label} ${number(count)}`).join(", "),
      })
    : t(pulls ? "no_failures" : "no_pulls", { count: pulls });
  return figure({
    name: "failures",
    minutes,
    series: reasons.map(({ label }, index) => ({ label, colour: REASON_COLOURS[index], isBar: true })),
    columns,
    isStacked: true,
    write: compact,
    said,
  });
}

/** Reasons by how often they were, the rest of them together. */
function commonest(minutes) {
  const counts = new Map();
  for (const minute of minutes) {
    for (const [name, count] of Object.entries(minute.failed_by_reason))
      counts.set(name, (counts.get(name) ?? 0) + count);
  }
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  const shown = sorted.slice(0, REASONS_SHOWN).map(([name, count]) => ({ label: name, names: [name], count }));
  const rest = sorted.slice(REASONS_SHOWN);
  if (!rest.length) return shown;
  return [
    ...shown,
    {
      label: t("other_reasons"),
      names: rest.map(([name]) => name),
      count: rest.reduce((all, [, count]) => all + count, 0),
    },
  ];
}

function figure({ name, minutes, series, columns, write, said, isStacked = false }) {
  const drawn = once(minutes, name, () => drawing(minutes, series, columns, isStacked));
  return html`<section class="card" aria-labelledby="${name}-title">
    <header class="line">
      <h2 id="${name}-title">${t(name)}</h2>
      <ul class="legend" role="list">
        ${series.map((one) => html`<li>${key(one)}${one.label}</li>`)}
      </ul>
    </header>
    ${
      series.length
        ? html`<time-plot aria-hidden="true" .write=${write} .isWhole=${write === compact} .series=${drawn.series}
            .data=${drawn.data}></time-plot>`
        : nothing
    }
    <p class="muted">${said}</p>
    ${table(name, minutes, series, columns, write)}
  </section>`;
}

const key = ({ colour, isDashed }) =>
  html`<span class="key ${colour.slice(2)} ${isDashed ? "dashed" : ""}"></span>`;

function drawing(minutes, series, columns, isStacked) {
  const seconds = minutes.map((minute) => Date.parse(minute.minute) / 1000);
  const values = columns.map((column) => minutes.map(column));
  // Stacked bars are drawn over each other, the whole of them first.
  return isStacked
    ? { series: series.toReversed(), data: [seconds, ...stacked(values).toReversed()] }
    : { series, data: [seconds, ...values] };
}

/** The page is rendered each second; a plot is drawn again only when there is something new. */
function once(minutes, name, make) {
  const made = drawings.get(minutes) ?? {};
  made[name] ??= make();
  drawings.set(minutes, made);
  return made[name];
}

function stacked(columns) {
  return columns.map((_, index) =>
    columns[0].map((_value, at) => sumOf(columns.slice(0, index + 1).map((column) => column[at]))),
  );
}

function table(name, minutes, series, columns, write) {
  if (!series.length) return nothing;
  const toggle = (event) => {
    open[event.target.open ? "add" : "delete"](name);
    changed();
  };
  return html`<details @toggle=${toggle}>
    <summary>${t("as_table")}</summary>
    ${
      open.has(name)
        ? html`<div class="scrolls" role="region" tabindex="0" aria-label=${t(name)}><table>
      <thead><tr>
        <th scope="col">${t("minute")}</th>
        ${series.map(({ label }) => html`<th scope="col" class="number">${label}</th>`)}
      </tr></thead>
      <tbody>${minutes.toReversed().map(
        (minute) => html`<tr><th scope="row">${timeOfDay(minute.minute)}</th>
        ${columns.map((column) => html`<td class="number">${written(column(minute), write)}</td>`)}</tr>`,
      )}</tbody>
    </table></div>`
        : nothing
    }
  </details>`;
}

const written = (value, write) => (value === null ? "–" : write(value));
const sumOf = (values) => values.reduce((all, value) => all + value, 0);
const sum = (minutes, name) => sumOf(minutes.map((minute) => minute[name]));
