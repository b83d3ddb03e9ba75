/** Messages that could not be handled: how many, the oldest of a queue, one with its body; replayed one by one or all. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, asked, troubleOf } from "./acting.js";
import { ADMIN, call } from "./api.js";
import { changed, may } from "./state.js";
import { t } from "./texts.js";
import { none, waiting } from "./widgets.js";

const PATH = `${ADMIN}/dead-letters`;

let counts = null;
let trouble = "";
let isAsking = false;
let seenBefore = null;
/** The queue that is looked into, and its oldest messages. */
let open = null;
/** Bodies that were asked for, by the message's id. */
const bodies = new Map();

/** What is known of dead letters is read anew, since who looks has the queue for himself for a moment. */
export function forgetDeadLetters() {
  [counts, open, seenBefore, trouble] = [null, null, null, ""];
  bodies.clear();
}

/** @param {object | undefined} queues as heard; when their dead messages are others, it is looked again. */
export function deadLetters(queues) {
  const dead = queues?.queues.filter((queue) => queue.kind === "dead").map((queue) => queue.messages).join() ?? "";
  if (dead !== seenBefore) {
    seenBefore = dead;
    look();
  }
  return html`<section class="card" aria-labelledby="dead-title">
    <header class="line"><h2 id="dead-title">${t("dead_letters")}</h2>
      ${actButton("look-dead", t("look_again"), look, { kind: "quiet" })}</header>
    <p class="muted">${t("dead_letters_mean")}</p>
    ${trouble ? html`<p class="notice bad">${trouble}</p>` : counts === null ? waiting() : listed()}
  </section>`;
}

function listed() {
  if (counts.every((queue) => queue.messages === 0)) return none(t("no_dead_letters"));
  return html`<ul class="stack" role="list">${counts.map(oneQueue)}</ul>`;
}

async function look() {
  if (isAsking) return;
  isAsking = true;
  try {
    trouble = "";
    counts = await call("GET", PATH);
    if (open) open = { ...open, letters: await call("GET", `${PATH}/${encodeURIComponent(open.queue)}`) };
  } catch (error) {
    trouble = troubleOf(error);
  } finally {
    isAsking = false;
    changed();
  }
}

function oneQueue({ queue, messages }) {
  if (messages === 0) return nothing;
  const isOpen = open?.queue === queue;
  return html`<li class="letters">
    <div class="line">
      <h3><code>${queue}</code> <span class="badge bad">${messages === null ? t("busy") : number(messages)}</span></h3>
      <div class="buttons">
        <button type="button" aria-expanded=${isOpen} @click=${() => toggle(queue)}>${t("look_at_oldest")}</button>
        ${may("operate") ? actButton(`replay ${queue}`, t("replay_all"), () => replayAll(queue, messages)) : nothing}
      </div>
    </div>
    ${isOpen ? (open.letters ? oldest(queue, open.letters) : waiting()) : nothing}
  </li>`;
}

function toggle(queue) {
  open = open?.queue === queue ? null : { queue, letters: null };
  changed();
  look();
}

function oldest(queue, letters) {
  if (!letters.length) return none(t("no_dead_letters"));
  return html`<ol class="stack" role="list">
    ${repeat(letters, (letter, index) => `${letter.id} ${index}`, (letter) => html`<li class="letter">
      <p>${letter.summary}</p>
      <pre tabindex="0" role="region" aria-label=${t("body")}>${bodies.get(letter.id) ?? letter.preview}</pre>
      <div class="buttons">
        ${bodies.has(letter.id) ? nothing : actButton(`whole ${letter.id}`, t("show_whole"), () => whole(queue, letter), { kind: "quiet" })}
        ${may("operate") ? actButton(`replay ${letter.id}`, t("replay"), () => replayOne(queue, letter)) : nothing}
      </div>
    </li>`)}
  </ol>`;
}

const pathOf = (queue, letter) => `${PATH}/${encodeURIComponent(queue)}/${encodeURIComponent(letter.id)}`;

async function whole(queue, letter) {
  const { body, body_format: format, body_is_cut: isCut } = await call("GET", pathOf(queue, letter));
  const text = format === "json" ? JSON.stringify(body, null, 2) : body;
  bodies.set(letter.id, isCut ? `${text}\n${t("cut")}` : text);
}

async function replayOne(queue, letter) {
  const isMeant = await asked({ title: t("replay_asked"), text: t("replay_means", { queue }), yes: t("replay") });
  if (!isMeant) return undefined;
  await call("POST", `${pathOf(queue, letter)}/replay`);
  await look();
  return t("was_replayed", { count: 1 });
}

async function replayAll(queue, messages) {
  const title = t("replay_all_asked", { count: messages ?? 0, queue });
  if (!(await asked({ title, text: t("replay_means", { queue }), yes: t("replay_all") }))) return undefined;
  const { replayed } = await call("POST", `${PATH}/${encodeURIComponent(queue)}/replay`);
  await look();
  return t("was_replayed", { count: replayed });
}
