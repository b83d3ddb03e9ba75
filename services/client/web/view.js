/** The page as a whole, out of what the application knows. Renders and nothing else. */

import { html, svg } from "./web/vendor/lit-html/lit-html.js";
import { rankingList } from "./web/ranking.js";
import { when } from "./web/format.js";
import { text } from "./texts.js";
import { capturesSection } from "./view-captures.js";
import { pokedexSection } from "./view-pokedex.js";
import { connection, notices, notSaved, summary } from "./view-status.js";

const SECTIONS = ["pokedex", "captures", "ranking"];

/** The one that a phone shows; where there is room, all are shown. */
export function sectionNow() {
  const asked = location.hash.slice(1);
  return SECTIONS.includes(asked) ? asked : SECTIONS[0];
}

/**
 * @param {import("./app.js").Model} model
 * @param {import("./app.js").Actions} actions
 */
export function page(model, actions) {
  return html`
    <a class="skip unseen button" href="#pokedex">${text("skip")}</a>
    <header class="top">
      <img src="/web/icon.svg" alt="" width="36" height="36">
      <h1>PullSync <span>${text("title")}</span></h1>
      ${connection(model)}
    </header>
    <nav aria-label=${text("sections")}>${SECTIONS.map((name) => tab(name, model))}</nav>
    ${notSaved(model)}
    <main data-section=${model.section}>
      <div class="status">${summary(model)} ${notices(model)}</div>
      ${pokedexSection(model, actions)}
      ${capturesSection(model, actions)}
      ${rankingSection(model)}
    </main>`;
}

const ICONS = {
  pokedex: svg`<circle cx="12" cy="12" r="9" /><path d="M3 12h5.5m7 0H21" /><circle cx="12" cy="12" r="3.5" />`,
  captures: svg`<path d="M9 6h12M9 12h12M9 18h12M4 6h.01M4 12h.01M4 18h.01" />`,
  ranking: svg`<path d="M4 20v-7h5v7m0 0V5h6v15m0-10h5v10M2 20h20" />`,
};

function tab(name, { section }) {
  return html`<a href="#${name}" aria-current=${section === name ? "page" : "false"}>
    <svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>${text(name)}</a>`;
}

function rankingSection({ ranking }) {
  return html`<section id="ranking" class="card" aria-labelledby="ranking-title">
    <header>
      <h2 id="ranking-title" tabindex="-1">${text("ranking")}</h2>
      ${ranking.asOf ? html`<p class="muted">${text("as_of", { when: when(ranking.asOf) })}</p>` : ""}
    </header>
    ${ranking.problem ? html`<p class="notice warn">${text("no_ranking", { said: ranking.problem })}</p>` : ""}
    ${ranking.entries.length > 0
      ? rankingList(ranking.entries, (count) => text("holders", { count }))
      : html`<p class="muted">${noRanking(ranking)}</p>`}
  </section>`;
}

function noRanking({ asOf, problem }) {
  if (asOf) return text("no_ranking_yet");
  return problem ? "" : text("loading");
}
