/** Captures that could not be read or stored: a page of them, each with what was wrong; one or all are tried again. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, confirmed, troubleOf } from "./acting.js";
import { ADMIN, call, callForPage } from "./api.js";
import { clientLink } from "./routes.js";
import { changed, may } from "./state.js";
import { t } from "./texts.js";
import { shownId } from "./user_ids.js";
import { none, waiting, when } from "./widgets.js";

const PATH = `${ADMIN}/quarantine`;
const PAGE = 20;
const MOST = 1_000;
const LOOK_EVERY_MS = 5_000;

let known = unknown();
let isLooking = false;

function unknown() {
  return { items: null, hasMore: false, shown: PAGE, trouble: "", lookedAt: 0 };
}

/** To be read anew. */
export function forgetQuarantine() {
  known = unknown();
}

/** The part of the page. */
export function quarantine() {
  if (Date.now() - known.lookedAt > LOOK_EVERY_MS) look();
  return html`<section class="card" aria-labelledby="quarantine-title">
    <h2 id="quarantine-title">${t("quarantine")} ${known.items?.length ? counted() : nothing}</h2>
    <p class="muted">${t("quarantine_means")}</p>
    ${known.trouble ? html`<p class="notice bad">${known.trouble}</p>` : nothing}
    ${known.items ? listed() : known.trouble ? nothing : waiting()}
  </section>`;
}

function listed() {
  if (!known.items.length) return none(t("quarantine_is_empty"));
  return html`
    ${may("operate") ? html`<div class="buttons">${actButton("retry-all", t("retry_all"), retryAll)}</div>` : nothing}
    <ol class="stack" role="list">${repeat(known.items, (item) => item.quarantine_id, oneItem)}</ol>
    ${
      known.hasMore && known.shown < MOST
        ? html`<p class="buttons">${actButton("more-quarantine", t("more"), more)}</p>`
        : nothing
    }`;
}

const counted = () => html`<span class="badge bad">${number(known.items.length)}${known.hasMore ? "+" : ""}</span>`;

function oneItem(item) {
  return html`<li class="letter">
    <p class="line"><a href=${clientLink(item.user_id)}>${shownId(item.user_id)}</a> ${when(item.quarantined_at)}</p>
    <p>${item.problem}</p>
    <pre tabindex="0" role="region" aria-label=${t("as_it_came")}>${item.raw}</pre>
    ${
      may("operate")
        ? html`<div class="buttons">${actButton(`retry ${item.quarantine_id}`, t("retry"), () => retry(item))}</div>`
        : nothing
    }
  </li>`;
}

async function look() {
  if (isLooking) return;
  const mine = known;
  isLooking = true;
  mine.lookedAt = Date.now();
  try {
    const { data, next } = await callForPage("GET", PATH, { query: [["limit", String(mine.shown)]] });
    Object.assign(mine, { items: data, hasMore: next !== null, trouble: "" });
  } catch (error) {
    mine.trouble = troubleOf(error);
  } finally {
    isLooking = false;
    changed();
  }
}

async function more() {
  known.shown = Math.min(known.shown + PAGE, MOST);
  await look();
}

async function retry(item) {
  await call("POST", `${PATH}/${item.quarantine_id}/replay`);
  return t("was_retried", { count: 1 });
}

async function retryAll() {
  const isMeant = await confirmed({ title: t("retry_all_asked"), text: t("retry_means"), yes: t("retry_all") });
  if (!isMeant) return undefined;
  const { asked: count } = await call("POST", `${PATH}/replay`, { body: { all: true } });
  return t("was_retried", { count });
}
