/** The ranking as a list: Pokémon, most held first. */

import { html } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { number } from "./format.js";
import { displayName, drawing } from "./pokemon.js";

/**
 * @param {{pokemon_id: number, pokemon_name: string, favorite_count: number}[]} entries as the registry has them.
 * @param {(count: number) => string} holders says by how many users it is held, for screen readers.
 */
export function rankingList(entries, holders) {
  return html`<ol class="ranking" role="list">
    ${repeat(entries, (entry) => entry.pokemon_id, (entry, index) => html`<li>
      <span class="place">${number(index + 1)}</span>
      <svg class="art" viewBox="0 0 100 100" aria-hidden="true">${drawing(entry.pokemon_id)}</svg>
      <span class="name">${displayName(entry.pokemon_name)}</span>
      <span class="number" aria-hidden="true">${number(entry.favorite_count)}</span>
      <span class="unseen">${holders(entry.favorite_count)}</span>
    </li>`)}
  </ol>`;
}
