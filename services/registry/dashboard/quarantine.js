/** Captures that could not be read or stored: a page of them, each with what was wrong; tried again one by one or all. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { actButton, asked, troubleOf } from "./acting.js";
import { ADMIN, call, callForPage } from "./api.js";
import { clientLink } from "./routes.js";
import { changed, may } from "./state.js";
import { t } from "./texts.js";
import { none, waiting, when } from "./widgets.js";

const PATH = `${ADMIN}/quarantine`;
const PAGE = "20";

let items = null;
let trouble = "";
let hasMore = false;
let isAsking = false;

/** What is known of the quarantine is read anew. */
export function forgetQuarantine() {
  [items, trouble] = [null, ""];
}

/** The part of the page. */
export function quarantine() {
  if (items === null && !trouble) look();
  return html`<section class="card" aria-labelledby="quarantine-title">
    <header class="line"><h2 id="quarantine-title">${t("quarantine")}</h2>
      ${actButton("look-quarantine", t("look_again"), () => look(), { kind: "quiet" })}</header>
    <p class="muted">${t("quarantine_means")}</p>
    ${trouble ? html`<p class="notice bad">${trouble}</p>` : items === null ? waiting() : items.length === 0 ? none(t("quarantine_is_empty")) : listed()}
  </section>`;
}

function listed() {
  return html`
    ${may("operate") ? html`<div class="buttons">${actButton("retry-all", t("retry_all"), retryAll)}</div>` : nothing}
    <ol class="stack" role="list">${repeat(items, (item) => item.quarantine_id, (item) => html`<li class="letter">
      <p><a href=${clientLink(item.user_id)}>${item.user_id}</a> · ${when(item.quarantined_at)}</p>
      <p>${item.problem}</p>
      <pre tabindex="0" role="region" aria-label=${t("as_it_came")}>${item.raw}</pre>
      ${may("operate")
        ? html`<div class="buttons">${actButton(`retry ${item.quarantine_id}`, t("retry"), () => retry(item))}</div>` : nothing}
    </li>`)}</ol>
    ${hasMore ? html`<p class="buttons">${actButton("more-quarantine", t("more"), () => look(items))}</p>` : nothing}`;
}

async function look(before = []) {
  if (isAsking) return;
  isAsking = true;
  try {
    trouble = "";
    const after = String(before.at(-1)?.quarantine_id ?? 0);
    const { data, next } = await callForPage("GET", PATH, { query: [["limit", PAGE], ["after", after]] });
    items = [...before, ...data];
    hasMore = next !== null;
  } catch (error) {
    trouble = troubleOf(error);
  } finally {
    isAsking = false;
    changed();
  }
}

async function retry(item) {
  await call("POST", `${PATH}/${item.quarantine_id}/replay`);
  return t("was_retried", { count: 1 });
}

async function retryAll() {
  if (!(await asked({ title: t("retry_all_asked"), text: t("retry_means"), yes: t("retry_all") }))) return undefined;
  const { asked: count } = await call("POST", `${PATH}/replay`, { body: { all: true } });
  return t("was_retried", { count });
}
