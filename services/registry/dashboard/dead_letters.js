/** Messages that could not be handled: how many, the oldest of a queue, one with its body; replay of one or all. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { actButton, asked, troubleOf } from "./acting.js";
import { ADMIN, call } from "./api.js";
import { changed, may } from "./state.js";
import { t } from "./texts.js";
import { none, waiting } from "./widgets.js";

const PATH = `${ADMIN}/dead-letters`;
/** Who looks has a queue for himself for a moment, so it is not done each second. */
const LOOK_EVERY_MS = 15_000;

/** What is known: `counts` by queue, the `open` queue with its oldest `letters`, and bodies by the message's id. */
let known = unknown();
let isLooking = false;

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

async function look() {
  if (isLooking) return;
  const mine = known;
  isLooking = true;
  mine.lookedAt = Date.now();
  try {
    const before = String(mine.counts?.find((queue) => queue.queue === mine.open)?.messages);
    mine.counts = await call("GET", PATH);
    const now = String(mine.counts.find((queue) => queue.queue === mine.open)?.messages);
    if (mine.open && (mine.letters === null || now !== before)) await lookInto(mine, mine.open);
    mine.trouble = "";
  } catch (error) {
    mine.trouble = troubleOf(error);
  } finally {
    isLooking = false;
    changed();
  }
}

async function lookInto(mine, queue) {
  const letters = await call("GET", `${PATH}/${encodeURIComponent(queue)}`);
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
      ${isOpen ? (known.letters ? oldest(queue, known.letters) : waiting()) : nothing}
    </details>
  </li>`;
}

function opened(queue, isOpen) {
  if (isOpen === (known.open === queue)) return;
  [known.open, known.letters] = [isOpen ? queue : null, null];
  changed();
  if (isOpen) tried(known, () => lookInto(known, queue));
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
    ${body ? nothing : html`<pre tabindex="0" role="region" aria-label=${t("beginning")}>${letter.preview}</pre>`}
    <details @toggle=${(event) => event.target.open && tried(known, () => lookAtBody(queue, letter))}>
      <summary>${t("whole_body")}</summary>
      ${body ? html`<pre tabindex="0" role="region" aria-label=${t("whole_body")}>${body}</pre>` : waiting()}
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

async function lookAtBody(queue, letter) {
  if (known.bodies.has(letter.id)) return;
  const { body, body_format: format, body_is_cut: isCut } = await call("GET", pathOf(queue, letter));
  const text = format === "json" ? JSON.stringify(body, null, 2) : body;
  known.bodies.set(letter.id, isCut ? `${text}\n${t("cut")}` : text);
}

async function tried(mine, run) {
  try {
    await run();
  } catch (error) {
    mine.trouble = troubleOf(error);
  }
  changed();
}

async function replayOne(queue, letter) {
  const isMeant = await asked({ title: t("replay_asked"), text: t("replay_means", { queue }), yes: t("replay") });
  if (!isMeant) return undefined;
  await call("POST", `${pathOf(queue, letter)}/replay`);
  known.lookedAt = 0; // look again
  return t("was_replayed", { count: 1 });
}

async function replayAll(queue, messages) {
  const title = t("replay_all_asked", { count: messages ?? 0, queue });
  if (!(await asked({ title, text: t("replay_means", { queue }), yes: t("replay_all") }))) return undefined;
  const { replayed } = await call("POST", `${PATH}/${encodeURIComponent(queue)}/replay`);
  known.lookedAt = 0; // look again
  return t("was_replayed", { count: replayed });
}
