/** What is seen by who may not look yet: the form for a token, or why there is no answer. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { token } from "./api.js";
import { t } from "./texts.js";
import { waiting } from "./widgets.js";

const PRINTABLE = /^[\x21-\x7e]+$/;

/**
 * @param {{kind: string, text: string}} outside see state.js.
 * @param {(text: string | null) => void} signIn is called when there is a token to try, or else with what is wrong.
 */
export function outsideView(outside, signIn) {
  if (outside.kind === "asking") return waiting();
  if (outside.kind === "away") return html`<p class="notice bad" role="alert">${outside.text} ${t("tried_again")}</p>`;
  return html`<form class="card signing-in" @submit=${(event) => submitted(event, signIn)}>
    <h1 tabindex="-1">${t("sign_in")}</h1>
    <p id="token-help" class="muted">${t("sign_in_means")}</p>
    ${outside.text ? html`<p id="token-problem" class="notice bad" role="alert">${outside.text}</p>` : nothing}
    <label for="token">${t("token")}</label>
    <input id="token" name="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" required
      aria-describedby="token-help${outside.text ? " token-problem" : ""}" aria-invalid=${Boolean(outside.text)}>
    <button class="primary">${t("sign_in")}</button>
  </form>`;
}

function submitted(event, signIn) {
  event.preventDefault();
  const typed = event.target.elements.token.value.trim();
  event.target.reset();
  if (!PRINTABLE.test(typed)) {
    signIn(t("no_token_at_all"));
    return;
  }
  token.keep(typed);
  signIn(null);
}
