/** Clients, live, a page at a time: by state, and by how their user ids begin. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { compact, number } from "./web/format.js";
import { clientLink, clientsLink } from "./routes.js";
import { state } from "./state.js";
import { t } from "./texts.js";
import { shownId } from "./user_ids.js";
import { cards, cell, clientBadge, countCell, none, waiting, when } from "./widgets.js";

const PAGE = 50;
const TYPED_MS = 250;
const KEPT = 100;
const STATES = ["", "active", "failing", "inactive", "paused"];

/** Which page led to which, as cursors lead forward only; the browser keeps it with each, to be loaded again. */
const before = new Map(history.state?.before);
let typing = null;

export const clients = {
  title: () => t("clients"),
  topics: (route) => [
    ["topics", "clients"],
    ["limit", String(PAGE)],
    ...Object.entries(selection(route)).filter(([, value]) => value),
  ],
  render: (route) => html`
    ${filters(selection(route))}
    ${state.heard.clients ? page(route, state.heard.clients) : waiting()}`,
};

function selection(route) {
  const of = (name) => route.query.get(name) ?? "";
  return { state: STATES.includes(of("state")) ? of("state") : "", search: of("search"), after: of("after") };
}

function filters(now) {
  const counts = state.heard.status;
  return html`<div class="toolbar">
    <search>
      <label for="search">${t("search_label")}</label>
      <input id="search" type="search" autocomplete="off" spellcheck="false" autocapitalize="off"
        maxlength="255" .value=${typing ? beingTyped() : now.search} @input=${typed}>
    </search>
    <nav aria-label=${t("by_state")}><ul class="chips" role="list">
      ${STATES.map(
        (name) => html`<li><a class="chip" href=${clientsLink({ state: name, search: now.search })}
        aria-current=${now.state === name ? "true" : "false"}>${t(name ? `clients_${name}` : "clients_all")}
        <span class="muted">${counts ? compact(counts[`${name || "registered"}_clients`]) : nothing}</span></a></li>`,
      )}
    </ul></nav>
  </div>`;
}

const beingTyped = () => document.getElementById("search")?.value ?? "";

/** The page follows what is typed, without a step back for each letter. */
function typed() {
  clearTimeout(typing);
  typing = setTimeout(() => {
    typing = null;
    if (state.route.view !== "clients") return;
    location.replace(clientsLink({ state: selection(state.route).state, search: beingTyped() }));
  }, TYPED_MS);
}

/** Where another page is asked for, the last one stays until that is there. */
function page(route, { clients: shown, next }) {
  const now = selection(state.heardAt.clients);
  if (!shown.length && !now.after) return none(t(now.search || now.state ? "no_such_clients" : "no_clients"));
  const columns = [
    [t("client")],
    [t("state")],
    [t("last_pull")],
    [t("failed_pulls")],
    [t("pending"), "number"],
    [t("next_pull")],
  ];
  const rows = repeat(shown, (client) => client.user_id, row);
  return html`<div class="stack" aria-busy=${state.heardAt.clients !== route}>
    ${shown.length ? cards(t("clients"), columns, rows) : none(t("no_more_clients"))}
    ${pages(now, next)}
  </div>`;
}

function row(client) {
  return html`<tr role="row">
    ${cell(t("client"), html`<a href=${clientLink(client.user_id)}>${shownId(client.user_id)}</a>`, "who")}
    ${cell(t("state"), clientBadge(client.state))}
    ${cell(t("last_pull"), when(client.last_pull_at))}
    ${cell(
      t("failed_pulls"),
      client.failures
        ? html`${number(client.failures)} <code>${client.last_reason}</code>`
        : html`<span class="muted">–</span>`,
      client.failures ? "" : "zero",
    )}
    ${countCell(t("pending"), client.pending)}
    ${cell(t("next_pull"), nextPull(client))}
  </tr>`;
}

/** When a client is pulled next, or why it is not said. */
export function nextPull(client) {
  if (client.in_flight) return html`<span class="badge info">${t("under_way")}</span>`;
  if (client.state === "paused") return html`<span class="muted">${t("when_resumed")}</span>`;
  if (state.heard.status?.running === false) return html`<span class="muted">${t("when_timer_runs")}</span>`;
  return when(client.next_pull_at);
}

function pages(now, next) {
  const here = clientsLink(now);
  const following = next && clientsLink({ ...now, after: next });
  if (following) before.set(following, here);
  if (!history.state) history.replaceState({ before: [...before].slice(-KEPT) }, "");
  if (!following && !now.after) return nothing;
  const link = (to, label, rel) =>
    to
      ? html`<a class="button" href=${to} rel=${rel}>${label}</a>`
      : html`<span class="button off" aria-hidden="true">${label}</span>`;
  return html`<nav class="pages" aria-label=${t("pages")}>
    ${link(now.after && clientsLink({ ...now, after: "" }), t("first_page"), "first")}
    ${link(now.after && before.get(here), t("previous_page"), "prev")}
    ${link(following, t("next_page"), "next")}
  </nav>`;
}
