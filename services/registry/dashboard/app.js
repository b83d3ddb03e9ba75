/** The operators' page: what is seen where, and what keeps it live. */

import { html, nothing, render } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { timeOfDay } from "./web/format.js";
import { askNoMore, refusalsGoTo, say } from "./acting.js";
import { ADMIN, call, token } from "./api.js";
import { client } from "./client.js";
import { clients } from "./clients.js";
import { forgetDeadLetters } from "./dead_letters.js";
import { focusTitle, keepingFocus } from "./focus.js";
import { Live } from "./live.js";
import { overview } from "./overview.js";
import { forgetQuarantine } from "./quarantine.js";
import { queues } from "./queues.js";
import { routeOf } from "./routes.js";
import { forgetRunClients } from "./run_clients.js";
import { forgetRuns } from "./run_history.js";
import { runs } from "./runs.js";
import { outsideView } from "./signing_in.js";
import { changed, rendersBy, state } from "./state.js";
import { t } from "./texts.js";
import { none } from "./widgets.js";

const unknown = { title: () => t("unknown_view"), topics: () => [], render: () => none(t("unknown_view_means")) };
const VIEWS = { overview, clients, client, runs, queues, unknown };
const PLACES = [
  ["overview", "#/"],
  ["clients", "#/clients"],
  ["runs", "#/runs"],
  ["queues", "#/queues"],
];
const AGAIN_MS = 3_000;
const TICK_MS = 1_000;
/** A connection that is cut, as some proxies do, is mostly there again before that. */
const MENTIONED_AFTER_MS = 2_000;

let wasAway = false;

const live = new Live({
  heard(topic, data) {
    if (topic === "problem") state.problem = data.detail ?? "";
    else [state.heard[topic], state.heardAt[topic]] = [data, state.route];
    changed();
  },
  became(now) {
    const since = now.is === state.live.is ? state.live.since : now.since;
    if (now.is !== "away") state.problem = "";
    state.live = { ...now, since };
    if (now.is === "live" && wasAway) askAccess();
    wasAway = now.is === "away" || (wasAway && now.is !== "live");
    changed();
  },
  refused: leave,
});

/** What a token may can be set anew, with the registry restarted. */
async function askAccess() {
  const asked = token.get();
  try {
    const access = await call("GET", `${ADMIN}/access`);
    if (state.access && token.get() === asked) state.access = access;
  } catch (problem) {
    if (problem.status === undefined) throw problem;
    // While there is no answer, the stream is away, too, and when it is back it is asked again.
    if (isRefusal(problem) && token.get() === asked) leave(problem);
  }
  changed();
}

const isRefusal = ({ status }) => status === 401 || status === 403;

/** What an action met: nobody knows the token any more, or it may do less than it could. */
function refused(problem) {
  if (problem.status === 401) leave(problem);
  else askAccess();
}

/** Ask what the caller may, and begin; again and again while nobody answers. */
async function enter({ wasForm = false } = {}) {
  try {
    state.access = await call("GET", `${ADMIN}/access`);
    state.outside = null;
    follow();
    if (wasForm) showTitle();
  } catch (problem) {
    if (problem.status === undefined) throw problem;
    if (isRefusal(problem)) {
      leave(token.get() ? problem : null);
    } else {
      state.outside = { kind: "away", text: problem.message };
      setTimeout(enter, AGAIN_MS);
    }
  }
  changed();
}

/** Forget the token and all that it let see; `problem` is why, where it was not wanted. */
function leave(problem) {
  token.forget();
  live.follow(null);
  forgetAll();
  Object.assign(state, { access: null, heard: {}, problem: "", notice: null });
  state.outside = { kind: "sign_in", text: problem ? refusal(problem) : "" };
  if (problem) showTitle();
  else changed();
}

const refusal = (problem) => (problem.status === 401 ? t("token_unknown") : problem.message);

/** What the views have in hand, each for itself. */
function forgetAll() {
  askNoMore();
  forgetDeadLetters();
  forgetQuarantine();
  forgetRuns();
  forgetRunClients();
}

/** Forget it all, whatever part of the page has it in hand. */
function signOut() {
  token.forget();
  location.reload();
}

function showTitle() {
  show();
  focusTitle();
}

function signIn(wrong) {
  state.outside = wrong ? { kind: "sign_in", text: wrong } : { kind: "asking", text: "" };
  changed();
  if (!wrong) enter({ wasForm: true });
}

const view = () => VIEWS[state.route.view];

function follow() {
  if (state.access) live.follow(new URLSearchParams([["topics", "status"], ...view().topics(state.route)]));
}

function went() {
  const [from, to] = [state.route, routeOf(location.hash)];
  state.route = to;
  follow();
  if (from.view === to.view && from.id === to.id) {
    show();
    if (from.query.get("after") !== to.query.get("after")) scrollTo(0, 0);
    return;
  }
  state.notice = null;
  delete state.heard.client;
  forgetAll();
  showTitle();
  scrollTo(0, 0);
}

function liveness() {
  const { is, since, why } = state.live;
  if (is === "away") {
    const text = t("not_live_since", { since: timeOfDay(since) });
    return html`<span class="badge bad" title=${why}>${text}</span>`;
  }
  const tone = { live: "good", refused: "bad" }[is] ?? "";
  return html`<span class="badge ${tone}">${t(`stream_${is}`)}</span>`;
}

function header() {
  return html`<header class="top">
    <a class="unseen" href="#main" @click=${skip}>${t("skip")}</a>
    <a class="brand" href="#/"><img src="/dashboard/web/icon.svg" alt="" width="28" height="28"> PullSync</a>
    ${state.access ? html`${places()}<div class="standing">${liveness()}${standing()}</div>` : nothing}
  </header>`;
}

function places() {
  const here = state.route.view === "client" ? "clients" : state.route.view;
  const place = ([name, link]) => html`
    <a href=${link} aria-current=${here === name ? "page" : "false"}>${t(name)}</a>`;
  return html`<nav class="places" aria-label=${t("views")}>${PLACES.map(place)}</nav>`;
}

function standing() {
  if (!state.access.needs_token) return nothing;
  return html`<span class="muted">${t(`scope_${state.access.scope}`)}</span>
    <button type="button" class="quiet" @click=${signOut}>${t("sign_out")}</button>`;
}

function skip(event) {
  event.preventDefault(); // the part behind # says where the page is
  document.getElementById("main").focus();
}

/** Each is an element of its own, so that screen readers tell it even when it says the same again. */
function notice() {
  const shown = state.notice ? [state.notice] : [];
  const told = ({ text, isBad }) => html`<p class="notice ${isBad ? "bad" : ""}">${text}</p>`;
  return html`<div class="notices">
    <div role="status" aria-live="polite">${repeat(shown, (one) => one, told)}</div>
    ${state.notice ? html`<button type="button" aria-label=${t("close")} @click=${() => say("")}>×</button>` : nothing}
  </div>`;
}

function page() {
  const inside = () => html`
    <div class="line"><h1 tabindex="-1">${view().title(state.route)}</h1>${view().beside?.()}</div>
    ${isLongAway() ? html`<p class="notice warn">${state.live.why} ${t("tried_again")}</p>` : nothing}
    ${state.problem ? html`<p class="notice bad">${state.problem}</p>` : nothing}
    ${state.live.is === "refused" ? html`<p class="notice bad">${state.live.why}</p>` : view().render(state.route)}`;
  return html`${header()}
    <main id="main" tabindex="-1" class=${state.route.view}>
      ${state.outside ? outsideView(state.outside, signIn) : inside()}
    </main>
    ${notice()}`;
}

const isLongAway = () => state.live.is === "away" && Date.now() - state.live.since > MENTIONED_AFTER_MS;

function show() {
  const title = state.outside ? "" : `${view().title(state.route)} · `;
  document.title = `${title}PullSync`;
  keepingFocus(() => render(page(), document.getElementById("page")));
}

document.getElementById("page").replaceChildren();
rendersBy(show);
refusalsGoTo(refused);
addEventListener("hashchange", went);
setInterval(() => {
  if (!document.hidden) changed();
}, TICK_MS);
show();
enter();
