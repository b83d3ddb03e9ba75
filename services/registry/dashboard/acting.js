/** What an operator does: once at a time, asked first where it matters, and with a word on what came of it. */

import { html, nothing, render } from "./web/vendor/lit-html/lit-html.js";
import { t } from "./texts.js";
import { changed, state } from "./state.js";

let refused = () => {};

/** `whenRefused` is called with the problem when the token is not taken any more. */
export function refusalsGoTo(whenRefused) {
  refused = whenRefused;
}

/** Say a sentence, visibly and to screen readers; none takes the last one away. */
export function say(text, { isBad = false } = {}) {
  state.notice = text ? { text, isBad } : null;
  changed();
}

/** Say what went wrong; where the token was not taken, somebody has to sign in again. */
export function complain(error) {
  const text = troubleOf(error);
  if (text) say(text, { isBad: true });
}

/** What went wrong, to be shown where it did; nothing where somebody has to sign in again. */
export function troubleOf(error) {
  if (error.status === undefined) throw error; // a fault of this page
  if (error.status !== 401) return error.message;
  refused(error);
  return "";
}

/**
 * Do it, unless it is being done already.
 *
 * @param {string} key what is being done, and to what.
 * @param {() => Promise<string | void>} run does it, and gives the sentence to say.
 */
export async function act(key, run) {
  if (state.busy.has(key)) return;
  state.busy.add(key);
  changed();
  try {
    const text = await run();
    if (text) say(text);
  } catch (error) {
    complain(error);
  } finally {
    state.busy.delete(key);
    changed();
  }
}

/** A button that acts. It keeps the focus while it does, so it is not `disabled`. */
export function actButton(key, label, run, { kind = "" } = {}) {
  const isBusy = state.busy.has(key);
  const clicked = () => act(key, run);
  return html`<button type="button" class=${kind} aria-disabled=${isBusy} @click=${clicked}>${label}</button>`;
}

/** Ask before something is done: true for yes. Escape, and a dialog that is taken away, is no. */
export function asked({ title, text, yes, isDangerous = false }) {
  const host = document.getElementById("asking");
  return new Promise((resolve) => {
    const answer = (value) => () => host.querySelector("dialog").close(value);
    const closed = (event) => {
      resolve(event.target.returnValue === "yes");
      render(nothing, host);
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
