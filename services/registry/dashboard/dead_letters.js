/** Messages that could not be handled: how many, the oldest of a queue, one with its body; replay of one or all. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, confirmed, troubleOf } from "./acting.js";
import { ADMIN, call, callForList } from "./api.js";
import { changed, may } from "./state.js";
import { t } from "./texts.js";
import { none, waiting } from "./widgets.js";

const PATH = `${ADMIN}/dead-letters`;
/** Who looks has a queue for himself for a moment, so it is not done each second. */
const LOOK_EVERY_MS = 15_000;

/**
 * What is known: `counts` by queue, the `open` queue with its oldest `letters`, and by the message's id its body, once
 * somebody wants to see that: `{isAsked, text, trouble}`.
 */
let known = unknown();
let isLooking = false;
let turn = Promise.resolve();

/** Looks after what was asked before, so that this page does not stand in its own way. */
const inTurn = (run) => (turn = turn.then(run, run));

function unknown() {
  return { counts: null, trouble: "", lookedAt: 0, heardBefore: "", open: null, letters: null, bodies: new Map() };
}

/** To be read anew. */
export function forgetDeadLetters() {
  known = unknown();
}

/** @param {{queues: object[]} | undefined} heard the queues, whose dead messages say when there is something new. */
export function deadLetters(heard) {
  const dead =
    heard?.queues
      .filter((queue) => queue.kind === "dead")
      .map((queue) => queue.messages)
      .join() ?? "";
  if (dead !== known.heardBefore || Date.now() - known.lookedAt > LOOK_EVERY_MS) {
    known.heardBefore = dead;
    look();
  }
  return html`<section class="card" aria-labelledby="dead-title">
    <h2 id="dead-title">${t("dead_letters")}</h2>
    <p class="muted">${t("dead_letters_mean")}</p>
    ${known.trouble ? html`<p class="notice bad">${known.trouble}</p>` : nothing}
    ${known.counts ? listed() : known.trouble ? nothing : waiting()}
  </section>`;
}

function listed() {
  if (known.counts.every((queue) => queue.messages === 0)) return none(t("no_dead_letters"));
  const shown = known.counts.filter((queue) => queue.messages !== 0);
  return html`<ul class="stack" role="list">${repeat(shown, (queue) => queue.queue, oneQueue)}</ul>`;
}

function look() {
  if (isLooking) return;
  const mine = known;
  isLooking = true;
  mine.lookedAt = Date.now();
  inTurn(async () => {
    try {
      const before = countOf(mine.open, mine.counts);
      mine.counts = await callForList("GET", PATH);
      if (mine.open && (mine.letters === null || countOf(mine.open, mine.counts) !== before)) await lookInto(mine);
      mine.trouble = "";
    } catch (error) {
      mine.trouble = troubleOf(error);
    } finally {
      isLooking = false;
      changed();
    }
  });
}

const countOf = (name, counts) => counts?.find((queue) => queue.queue === name)?.messages;

async function lookInto(mine) {
  const queue = mine.open;
  const letters = await callForList("GET", `${PATH}/${encodeURIComponent(queue)}`);
  if (mine.open === queue) mine.letters = letters;
}

function oneQueue({ queue, messages }) {
  const isOpen = known.open === queue;
  return html`<li class="letters">
    <div class="line">
      <h3><code>${queue}</code> <span class="badge bad">${messages === null ? t("busy") : number(messages)}</span></h3>
      ${may("operate") ? actButton(`replay ${queue}`, t("replay_all"), () => replayAll(queue, messages)) : nothing}
    </div>
    <details .open=${isOpen} @toggle=${(event) => opened(queue, event.target.open)}>
      <summary>${t("look_at_oldest")}</summary>
      ${isOpen ? (known.letters ? oldest(queue, known.letters) : known.trouble ? nothing : waiting()) : nothing}
    </details>
  </li>`;
}

function opened(queue, isOpen) {
  if (isOpen === (known.open === queue)) return;
  Object.assign(known, { open: isOpen ? queue : null, letters: null, lookedAt: 0 });
  changed();
}

function oldest(queue, letters) {
  return html`<ol class="stack" role="list">
    ${repeat(
      letters,
      (letter, index) => `${letter.id} ${index}`,
      (letter) => oneLetter(queue, letter),
    )}
  </ol>`;
}

function oneLetter(queue, letter) {
  const body = known.bodies.get(letter.id);
  return html`<li class="letter">
    <p>${letter.summary}</p>
    ${body?.text ? nothing : html`<pre tabindex="0" role="region" aria-label=${t("beginning")}>${letter.preview}</pre>`}
    <details @toggle=${(event) => event.target.open && lookAtBody(queue, letter)}>
      <summary>${t("whole_body")}</summary>
      ${body?.text ? html`<pre tabindex="0" role="region" aria-label=${t("whole_body")}>${body.text}</pre>` : nothing}
      ${body?.trouble ? html`<p class="notice bad">${body.trouble}</p>` : nothing}
      ${body?.isAsked ? waiting() : nothing}
    </details>
    ${
      may("operate")
        ? html`<div class="buttons">
          ${actButton(`replay ${letter.id}`, t("replay"), () => replayOne(queue, letter))}
        </div>`
        : nothing
    }
  </li>`;
}

const pathOf = (queue, letter) => `${PATH}/${encodeURIComponent(queue)}/${encodeURIComponent(letter.id)}`;

function lookAtBody(queue, letter) {
  const { bodies } = known;
  if (bodies.get(letter.id)?.text) return;
  bodies.set(letter.id, { isAsked: true });
  changed();
  inTurn(async () => {
    try {
      bodies.set(letter.id, { text: written(await call("GET", pathOf(queue, letter))) });
    } catch (error) {
      bodies.set(letter.id, { trouble: troubleOf(error) });
    }
    changed();
  });
}

/** The body as it came, or a word on how it is written instead. */
function written({ body, body_format: format, body_is_cut: isCut, preview, size_bytes: size }) {
  const end = isCut ? `\n${t("cut")}` : "";
  if (format === "base64") return `${t("in_base64")}\n${body}${end}`;
  if (format === "text") return body + end || t("empty");
  const isAllSeen = new TextEncoder().encode(preview).length === size;
  return isAllSeen ? preview : `${t("in_json")}\n${JSON.stringify(body, null, 2)}`;
}

async function replayOne(queue, letter) {
  const isMeant = await confirmed({ title: t("replay_asked"), text: t("replay_means", { queue }), yes: t("replay") });
  if (!isMeant) return undefined;
  await call("POST", `${pathOf(queue, letter)}/replay`);
  known.lookedAt = 0; // look again
  return t("was_replayed", { count: 1 });
}

async function replayAll(queue, messages) {
  const title = t("replay_all_asked", { count: messages ?? 0, queue });
  if (!(await confirmed({ title, text: t("replay_means", { queue }), yes: t("replay_all") }))) return undefined;
  const { replayed } = await call("POST", `${PATH}/${encodeURIComponent(queue)}/replay`);
  known.lookedAt = 0; // look again
  return t("was_replayed", { count: replayed });
}
