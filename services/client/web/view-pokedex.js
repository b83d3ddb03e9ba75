/** All Pokémon, to be searched, captured, released and made favourites. */

import { html } from "./web/vendor/lit-html/lit-html.js";
import { live } from "./web/vendor/lit-html/directives/live.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { displayName, displayNumber, drawing } from "./web/pokemon.js";
import { matching } from "./pokedex.js";
import { text } from "./texts.js";

const FILTERS = ["all", "held", "favourite"];
const STAR = "m12 2.8 2.9 5.9 6.5.9-4.7 4.6 1.1 6.5-5.8-3.1-5.8 3.1 1.1-6.5-4.7-4.6 6.5-.9z";

/**
 * @param {import("./app.js").Model} model
 * @param {import("./app.js").Actions} actions
 */
export function pokedexSection(model, actions) {
  const found = matching(model.species, model.held, model);
  return html`<section id="pokedex" aria-labelledby="pokedex-title">
    <header>
      <h2 id="pokedex-title" tabindex="-1">${text("pokedex")}</h2>
      <p class="muted">${model.species.size > 0 ? text("found", { count: found.length }) : text("loading")}</p>
    </header>
    <div class="controls">${searchField(model, actions)} ${filters(model, actions)}</div>
    ${found.length > 0 ? list(found, model, actions) : nothingFound(model)}
  </section>`;
}

function searchField({ query }, { search }) {
  return html`<input type="search" aria-label=${text("search")} placeholder=${text("search")} enterkeyhint="search"
    autocomplete="off" spellcheck="false" .value=${live(query)} @input=${(event) => search(event.target.value)}>`;
}

function filters({ filter }, { show }) {
  return html`<div class="filters" role="group" aria-label=${text("show")}>
    ${FILTERS.map((name) => html`<button type="button" aria-pressed=${filter === name ? "true" : "false"}
      @click=${() => show(name)}>${text(name)}</button>`)}
  </div>`;
}

function list(found, model, actions) {
  return html`<ul class="entries" role="list">
      ${repeat(found.slice(0, model.shown), ({ id }) => id, (species) => entry(species, model, actions))}
    </ul>
    ${found.length > model.shown ? moreButton(actions) : ""}`;
}

const moreButton = ({ more }) => html`<button type="button" class="more" @click=${more}>${text("more")}</button>`;

function nothingFound({ query, filter, species }) {
  if (species.size === 0) return "";
  const byName = filter === "all" ? "none_found" : "none_found_held";
  return html`<p class="empty">${query ? text(byName, { query }) : text(`none_${filter}`)}</p>`;
}

function entry({ id, name: plain }, { held, canSave }, { change }) {
  const [name, holding, last] = [displayName(plain), held.get(id)?.holding ?? "gone", held.get(id)?.last];
  const [isHeld, isFavourite] = [holding !== "gone", holding === "favourite"];
  const made = { pokemon_id: id, pokemon_name: plain };
  return html`<li class="entry ${holding}" data-id=${id}>
    <svg class="art" viewBox="0 0 100 100" aria-hidden="true">${drawing(id)}</svg>
    <p class="number-of">${displayNumber(id)}</p>
    <h3>${name}</h3>
    <p class="where">${where(holding, last)}</p>
    <button type="button" class=${isHeld ? "release" : "primary"} ?disabled=${!canSave}
      aria-label=${text(isHeld ? "release_name" : "capture_name", { name })}
      @click=${once(() => change({ ...made, action: "capture", removed: isHeld }))}
      >${text(isHeld ? "release" : "capture")}</button>
    <button type="button" class="star" ?disabled=${!canSave} aria-pressed=${isFavourite ? "true" : "false"}
      aria-label=${text("favourite_name", { name })}
      @click=${once(() => change({ ...made, action: isFavourite ? "capture" : "favorite", removed: false }))}
      ><svg viewBox="0 0 24 24" aria-hidden="true"><path d=${STAR} /></svg></button>
  </li>`;
}

/** What it is, and how far the capture that made it so has come; nothing for what was never captured. */
function where(holding, last) {
  if (!last) return "";
  return html`<span class="unseen">${text(`is_${holding}`)},</span>
    <span class="state ${last.state}">${text(last.state)}</span>`;
}

/** The second click of a double click means nothing: it would undo the first. */
const once = (act) => (event) => event.detail < 2 && act();
