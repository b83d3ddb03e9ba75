/** The form for an interval, the timer's or a client's own. */

import { html } from "./web/vendor/lit-html/lit-html.js";
import { act, submitButton } from "./acting.js";
import { t } from "./texts.js";

const SHORTEST_S = 5;
const LONGEST_S = 86_400;

/**
 * @param {object} form
 * @param {string} form.key what is being done, and to what; see `act`.
 * @param {(seconds: number | null) => Promise<string>} form.set sets it, and gives the sentence to say; null for none.
 * @param {string} [form.placeholder] stands for none; without, there must be an interval.
 * @param {string} [form.about] the user id of the client that it is about.
 */
export function intervalForm({ key, id, label, value, set, placeholder = "", about = "" }) {
  const submitted = (event) => {
    event.preventDefault();
    const form = event.target;
    const typed = form.elements.interval.value;
    const run = async () => {
      const text = await set(typed ? Number(typed) : null);
      form.reset();
      return text;
    };
    act(key, run, { about });
  };
  return html`<form class="line" @submit=${submitted}>
    <label for=${id}>${label}</label>
    <input id=${id} name="interval" type="number" inputmode="numeric" min=${SHORTEST_S} max=${LONGEST_S}
      ?required=${!placeholder} placeholder=${placeholder} value=${value ?? ""}>
    ${submitButton(key, t("set"))}
  </form>`;
}
