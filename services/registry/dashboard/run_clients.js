/** The clients of a run that failed, or that differed from what is stored: shown when asked for, a page at a time. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { troubleOf } from "./acting.js";
import { PULL_SYNC, callForPage } from "./api.js";
import { clientLink } from "./routes.js";
import { changed } from "./state.js";
import { t } from "./texts.js";
import { shownId } from "./user_ids.js";
import { cards, cell, waiting } from "./widgets.js";

const PAGE = 50;
const MOST = 10_000;

/**
 * What is open, by run and outcome: `{limit, asked, isAsking, clients, next, trouble}`, where `limit` is how many are
 * to be seen, and `asked` says with which limit and count they were asked for last.
 */
let shown = new Map();

/** To be opened anew. */
export function forgetRunClients() {
  shown = new Map();
}

/** What can be opened below a run; it follows the run as more clients fail. */
export function differences(run) {
  return html`
    ${run.failed ? opened(run, "failed", run.failed) : nothing}
    ${run.missing || run.unknown ? opened(run, "differing", run.missing + run.unknown) : nothing}`;
}

function opened(run, outcome, count) {
  const key = `${run.run_id} ${outcome}`;
  const known = shown.get(key);
  if (known && !known.isAsking && known.asked !== `${known.limit} ${count}`) ask(run, outcome, count, known);
  const toggle = (event) => {
    if (!event.target.open) shown.delete(key);
    else if (!shown.has(key)) shown.set(key, { limit: PAGE });
    changed();
  };
  return html`<details @toggle=${toggle}>
    <summary>${t(`clients_that_${outcome}`)}</summary>
    ${known ? inside(outcome, known) : nothing}
  </details>`;
}

function inside(outcome, known) {
  const again = () => {
    known.asked = null;
    changed();
  };
  return html`
    ${known.clients ? list(outcome, known) : known.trouble ? nothing : waiting()}
    ${
      known.trouble
        ? html`<p class="notice bad">${known.trouble}</p>
          <div class="buttons"><button type="button" @click=${again}>${t("retry")}</button></div>`
        : nothing
    }`;
}

function list(outcome, known) {
  const { clients, next, limit } = known;
  const isFailed = outcome === "failed";
  const columns = isFailed
    ? [[t("client")], [t("reason")], [t("error")]]
    : [[t("client")], [t("missing")], [t("unknown")]];
  const row = (client) => html`<tr role="row">
    ${cell(t("client"), html`<a href=${clientLink(client.user_id)}>${shownId(client.user_id)}</a>`, "who")}
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
    ${next && limit < MOST ? html`<button type="button" @click=${() => more(known)}>${t("more")}</button>` : nothing}`;
}

function named(count, examples) {
  return html`${count}${examples.length ? html`: <span class="muted">${examples.join(", ")}</span>` : nothing}`;
}

function more(known) {
  known.limit = Math.min(known.limit + PAGE, MOST);
  changed();
}

/** As many as are to be seen, at once: those that fail later may come before them. */
async function ask(run, outcome, count, known) {
  Object.assign(known, { asked: `${known.limit} ${count}`, isAsking: true });
  try {
    const path = `${PULL_SYNC}/runs/${run.run_id}/clients`;
    const query = [
      ["limit", String(known.limit)],
      ["outcome", outcome],
    ];
    const { data, next } = await callForPage("GET", path, { query });
    Object.assign(known, { clients: data, next, trouble: "" });
  } catch (error) {
    known.trouble = troubleOf(error);
  } finally {
    known.isAsking = false;
    changed();
  }
}
