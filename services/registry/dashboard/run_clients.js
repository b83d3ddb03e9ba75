/** The clients of a run that failed, or that differed from what is stored: shown when asked for, a page at a time. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { complain } from "./acting.js";
import { PULL_SYNC, callForPage } from "./api.js";
import { clientLink } from "./routes.js";
import { changed } from "./state.js";
import { t } from "./texts.js";
import { cards, cell, waiting } from "./widgets.js";

const PAGE = "50";

/** By run and outcome: `{clients, next, of}`, where `of` is how many there were when they were asked for. */
const shown = new Map();

/** What can be opened below a run; it follows the run as more clients fail. */
export function differences(run) {
  return html`
    ${run.failed ? opened(run, "failed", run.failed) : nothing}
    ${run.missing || run.unknown ? opened(run, "differing", run.missing + run.unknown) : nothing}`;
}

function opened(run, outcome, count) {
  const key = `${run.run_id} ${outcome}`;
  const known = shown.get(key);
  if (known && known.of !== count) load(run, outcome, count);
  const toggle = (event) => {
    if (!event.target.open) shown.delete(key);
    else if (!shown.has(key)) load(run, outcome, count);
  };
  return html`<details @toggle=${toggle}>
    <summary>${t(`clients_that_${outcome}`)}</summary>
    ${known?.clients ? list(run, outcome, known) : known ? waiting() : nothing}
  </details>`;
}

function list(run, outcome, { clients, next }) {
  const isFailed = outcome === "failed";
  const columns = isFailed
    ? [[t("client")], [t("reason")], [t("error")]]
    : [[t("client")], [t("missing")], [t("unknown")]];
  const row = (client) => html`<tr role="row">
    ${cell(t("client"), html`<a href=${clientLink(client.user_id)}>${client.user_id}</a>`, "who")}
    ${
      isFailed
        ? html`${cell(t("reason"), html`<code>${client.reason}</code>`)}${cell(t("error"), client.error)}`
        : html`${cell(t("missing"), named(client.missing, client.missing_examples))}
        ${cell(t("unknown"), named(client.unknown, client.unknown_examples))}`
    }
  </tr>`;
  return html`
    ${cards(
      t(`clients_that_${outcome}`),
      columns,
      repeat(clients, (client) => client.user_id, row),
    )}
    ${next ? html`<button type="button" @click=${() => more(run, outcome)}>${t("more")}</button>` : nothing}`;
}

function named(count, examples) {
  return html`${count}${examples.length ? html`: <span class="muted">${examples.join(", ")}</span>` : nothing}`;
}

async function load(run, outcome, count) {
  const key = `${run.run_id} ${outcome}`;
  shown.set(key, { ...shown.get(key), of: count });
  await ask(run, outcome, [["limit", PAGE]], []);
}

async function more(run, outcome) {
  const known = shown.get(`${run.run_id} ${outcome}`);
  await ask(
    run,
    outcome,
    [
      ["limit", PAGE],
      ["after", known.clients.at(-1).user_id],
    ],
    known.clients,
  );
}

async function ask(run, outcome, query, before) {
  const key = `${run.run_id} ${outcome}`;
  try {
    const path = `${PULL_SYNC}/runs/${run.run_id}/clients`;
    const { data, next } = await callForPage("GET", path, { query: [...query, ["outcome", outcome]] });
    if (shown.has(key)) shown.set(key, { ...shown.get(key), clients: [...before, ...data], next });
  } catch (error) {
    shown.delete(key);
    complain(error);
  }
  changed();
}
