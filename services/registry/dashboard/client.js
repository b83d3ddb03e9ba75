/** One client: all that is known of it, what became of its pulls, and what can be done about it. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, confirmed } from "./acting.js";
import { call, clientPath } from "./api.js";
import { nextPull } from "./clients.js";
import { intervalForm } from "./interval_form.js";
import { may, state } from "./state.js";
import { t } from "./texts.js";
import { shownId } from "./user_ids.js";
import { cards, cell, clientBadge, countCell, facts, lasting, none, waiting, when } from "./widgets.js";

export const client = {
  title: (route) => shownId(route.id),
  topics: (route) => [
    ["topics", "client"],
    ["user_id", route.id],
  ],
  beside: () => html`<a href="#/clients">${t("back_to_clients")}</a>`,
  render: (route) => {
    const known = state.heard.client;
    if (!known) return waiting();
    return html`
      ${known.client ? about(known.client) : unregistered(route.id)}
      ${history(known.pulls)}`;
  },
};

const unregistered = (user) => html`<p class="notice warn">${t("not_registered", { user: shownId(user) })}</p>`;

function about(client) {
  return html`
    <section class="card" aria-labelledby="about-title">
      <header class="line"><h2 id="about-title">${t("what_is_known")}</h2>${clientBadge(client.state)}</header>
      ${client.last_error && client.failures ? trouble(client) : nothing}
      ${facts([
        [t("last_pull"), html`${when(client.last_pull_at)}${took(client)}`],
        [t("last_success"), when(client.last_success_at)],
        [t("next_pull"), nextPull(client)],
        [t("interval"), interval(client)],
        [t("pending"), number(client.pending)],
        [t("stored"), number(client.stored)],
        [t("inactive_since"), client.inactive_since ? when(client.inactive_since) : nothing],
        [t("address"), html`<code>${client.client_url}</code>`],
        [t("kind"), client.client_type],
        [t("capabilities"), client.capabilities.length ? client.capabilities.join(", ") : "–"],
        [t("registered"), when(client.registered_at)],
      ])}
      ${may("operate") ? actions(client) : nothing}
    </section>`;
}

const trouble = (client) => html`<div class="notice bad">
  <p><strong>${t("failed_in_a_row", { count: client.failures })}</strong> <code>${client.last_reason}</code></p>
  <p>${client.last_error}</p>
</div>`;

const took = (client) =>
  client.last_duration_s === null ? nothing : html` <span class="muted">· ${lasting(client.last_duration_s)}</span>`;

function interval(client) {
  return client.sync_interval_s === null
    ? t("interval_of_timer")
    : t("every_seconds", { count: client.sync_interval_s });
}

function actions(client) {
  const isPaused = client.state === "paused";
  const button = (name, label, run, kind = "") =>
    actButton(`${name} ${client.user_id}`, t(label), () => run(client), { kind, about: client.user_id });
  return html`<div class="buttons">
    ${isPaused ? nothing : button("nudge", "pull_now", nudge, "primary")}
    ${isPaused ? button("pause", "resume", resume, "primary") : button("pause", "pause", pause)}
    ${may("admin") ? button("remove", "remove", remove, "danger") : nothing}
  </div>
  ${intervalForm({
    key: `own-interval ${client.user_id}`,
    id: "own-interval",
    label: t("own_interval"),
    value: client.sync_interval_s,
    placeholder: t("as_timer"),
    set: (seconds) => setOwnInterval(client, seconds),
    about: client.user_id,
  })}`;
}

const named = (client) => ({ user: shownId(client.user_id) });

async function nudge(client) {
  await call("POST", clientPath("/nudge/", client.user_id));
  return t("was_nudged", named(client));
}

const change = (client, body) => call("PATCH", clientPath("/clients/", client.user_id), { body });

async function pause(client) {
  await change(client, { paused: true });
  return t("was_paused", named(client));
}

async function resume(client) {
  await change(client, { paused: false });
  return t("was_resumed", named(client));
}

async function setOwnInterval(client, seconds) {
  await change(client, { sync_interval_s: seconds });
  if (seconds === null) return t("own_interval_was_taken", named(client));
  return t("own_interval_was_set", { ...named(client), count: seconds });
}

async function remove(client) {
  const isMeant = await confirmed({
    title: t("remove_asked", named(client)),
    text: t(client.pending ? "remove_means_pending" : "remove_means", { count: client.pending }),
    yes: t("remove"),
    isDangerous: true,
  });
  if (!isMeant) return undefined;
  await call("DELETE", clientPath("/unregister-client/", client.user_id));
  return t("was_removed", named(client));
}

function history(pulls) {
  const columns = [
    [t("ended")],
    [t("outcome")],
    [t("stored_new"), "number"],
    [t("duplicates"), "number"],
    [t("quarantined"), "number"],
    [t("pending"), "number"],
    [t("took"), "number"],
  ];
  return html`<section class="card" aria-labelledby="history-title">
    <h2 id="history-title">${t("history")}</h2>
    <p class="muted">${t("history_means")}</p>
    ${
      pulls.length
        ? cards(
            t("history"),
            columns,
            repeat(pulls, (pull) => pull.pull_id, pullRow),
          )
        : none(t("no_history"))
    }
  </section>`;
}

function pullRow(pull) {
  const isBad = pull.outcome === "failed";
  return html`<tr role="row">
    ${cell(t("ended"), when(pull.settled_at))}
    ${cell(
      t("outcome"),
      html`<span class="badge ${isBad ? "bad" : "good"}">${t(`outcome_${pull.outcome}`)}</span>
      ${pull.reason ? html` <code>${pull.reason}</code>` : nothing}
      ${pull.error ? html`<span class="muted why">${pull.error}</span>` : nothing}`,
    )}
    ${countCell(t("stored_new"), pull.stored)}
    ${countCell(t("duplicates"), pull.duplicates)}
    ${countCell(t("quarantined"), pull.quarantined)}
    ${countCell(t("pending"), pull.pending)}
    ${cell(t("took"), lasting(pull.duration_s), "number")}
  </tr>`;
}
