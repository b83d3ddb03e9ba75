/** What an operator does: once at a time, asked first where it matters, and with a word on what came of it. */

import { html, nothing, render } from "./web/vendor/lit-html/lit-html.js";
import { findFocus } from "./focus.js";
import { changed, state } from "./state.js";
import { t } from "./texts.js";
import { shownId } from "./user_ids.js";

let refused = () => {};

/** `whenRefused` is called with the problem when the token is not taken any more (401), or may do less (403). */
export function refusalsGoTo(whenRefused) {
  refused = whenRefused;
}

/** Say a sentence, visibly and to screen readers; none takes the last one away. */
export function say(text, { isBad = false } = {}) {
  state.notice = text ? { text, isBad } : null;
  changed();
}

/** Say what went wrong, and with which client where another one is seen by now. */
function complain(error, about) {
  const text = troubleOf(error);
  const isElsewhere = about && state.route.id !== about;
  if (text) say(isElsewhere ? t("trouble_of", { user: shownId(about), text }) : text, { isBad: true });
}

/** What went wrong, to be shown where it did; nothing where somebody has to sign in again. */
export function troubleOf(error) {
  if (error.status === undefined) throw error; // a fault of this page
  if (error.status === 401 || error.status === 403) refused(error);
  return error.status === 401 ? "" : error.message;
}

/**
 * Do it, unless it is being done already, which is said.
 *
 * @param {string} key what is being done, and to what.
 * @param {() => Promise<string | void>} run does it, and gives the sentence to say. It may be said in another view.
 * @param {{about?: string}} [options] `about` is the user id of the client that it is done to.
 */
export async function act(key, run, { about = "" } = {}) {
  if (state.busy.has(key)) {
    say(t("still_under_way"));
    return;
  }
  state.busy.add(key);
  changed();
  try {
    const text = await run();
    if (text) say(text);
  } catch (error) {
    complain(error, about);
  } finally {
    state.busy.delete(key);
    changed();
  }
}

/** A button that acts. It keeps the focus while it does, so it is not `disabled`. */
export function actButton(key, label, run, { kind = "", about = "" } = {}) {
  const isBusy = state.busy.has(key);
  const clicked = () => act(key, run, { about });
  return html`<button type="button" class=${kind} aria-disabled=${isBusy} @click=${clicked}>${label}</button>`;
}

/** The button of a form that acts by `act`, with the same key. */
export const submitButton = (key, label) => html`<button aria-disabled=${state.busy.has(key)}>${label}</button>`;

/** Ask before something is done: true for yes. Escape, and a dialog that is taken away, is no. */
export function confirmed({ title, text, yes, isDangerous = false }) {
  const host = document.getElementById("asking");
  return new Promise((resolve) => {
    const answer = (value) => () => host.querySelector("dialog").close(value);
    const closed = (event) => {
      resolve(event.target.returnValue === "yes");
      render(nothing, host);
      findFocus();
    };
    render(
      html`<dialog aria-labelledby="asking-title" aria-describedby="asking-text" @close=${closed}>
      <h2 id="asking-title">${title}</h2>
      <p id="asking-text">${text}</p>
      <div class="buttons">
        <button type="button" @click=${answer("no")} autofocus>${t("cancel")}</button>
        <button type="button" class=${isDangerous ? "danger" : "primary"} @click=${answer("yes")}>${yes}</button>
      </div>
    </dialog>`,
      host,
    );
    host.querySelector("dialog").showModal();
  });
}

/** Take the dialog away, where there is one: what it asks about is not seen any more. */
export const askNoMore = () => document.querySelector("#asking dialog")?.close("no");
