/** The latest captures, each with its way: saved here, handed over, pulled, stored. */

import { html } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { when } from "./web/format.js";
import { displayName, drawing } from "./web/pokemon.js";
import { deeds, nameOf } from "./pokedex.js";
import { text } from "./texts.js";
import { STEPS } from "./view-status.js";

const SHOWN = 50;
const DEEDS = {
  captured: "captured",
  released: "released",
  favourite: "made_favourite",
  unfavourite: "made_unfavourite",
};

/**
 * @param {import("./app.js").Model} model
 * @param {import("./app.js").Actions} actions
 */
export function capturesSection(model, actions) {
  const { captures, species } = model;
  const done = deeds(captures);
  const shown = captures.slice(-SHOWN).reverse();
  const refused = captures.slice(0, -SHOWN).filter(({ state }) => state === "refused").reverse();
  return html`<section id="captures" class="card" aria-labelledby="captures-title">
    <header>
      <h2 id="captures-title" tabindex="-1">${text("latest")}</h2>
      ${captures.length > SHOWN ? html`<p class="muted">${latestOf(shown, captures)}</p>` : ""}
    </header>
    ${captures.length === 0 ? nothingYet() : ""}
    <ul class="events" role="list" tabindex="0" aria-labelledby="captures-title">
      ${repeat([...refused, ...shown], idOf, (each) => row(each, deedOf(each, done, species), actions))}
    </ul>
  </section>`;
}

const idOf = ({ capture_id: id }) => id;

const latestOf = (shown, captures) => text("latest_of", { count: shown.length, total: captures.length });

/** In words, what the user did. */
export function deedOf(capture, done, species) {
  return text(DEEDS[done.get(capture.capture_id)], { name: displayName(nameOf(capture, species)) });
}

function nothingYet() {
  return html`<div class="empty">
    <svg class="art" viewBox="0 0 100 100" aria-hidden="true">${drawing(25)}</svg>
    <h3>${text("no_captures")}</h3>
    <p>${text("no_captures_help")}</p>
  </div>`;
}

function row(capture, words, { tryAgain }) {
  const { capture_id: id, pokemon_id: pokemon, state } = capture;
  return html`<li class="event" data-id=${id} data-state=${state}>
    <svg class="art" viewBox="0 0 100 100" aria-hidden="true">${drawing(pokemon)}</svg>
    <h3>${words}</h3>
    ${state === "refused" ? refusal(capture, words, tryAgain) : way(capture)}
  </li>`;
}

function way(capture) {
  const reached = STEPS.indexOf(capture.state);
  return html`<ol class="way" role="list">
    ${STEPS.map((state, index) => step(state, index <= reached, index === reached, capture))}
  </ol>`;
}

function step(state, isReached, isLast, capture) {
  const isElsewhere = state === "saved" && capture.saved_at === null;
  const time = isElsewhere ? capture.timestamp : capture[`${state}_at`];
  return html`<li class="step ${isReached ? "reached" : ""}" aria-current=${isLast ? "step" : "false"}>
    <span class="word">${text(isElsewhere ? "elsewhere" : state)}</span>
    ${isReached ? "" : html`<span class="unseen">${text("not_yet")}</span>`}
    ${isReached && time ? html`<time datetime=${time}>${when(time)}</time>` : ""}
  </li>`;
}

function refusal({ capture_id: id, refusal: said }, name, tryAgain) {
  return html`<div class="refusal">
    <p>${said ? text("refusal", { said }) : text("refusal_silent")}</p>
    <button type="button" aria-label=${text("try_again_name", { name })} @click=${() => tryAgain(id)}
      >${text("try_again")}</button>
  </div>`;
}
