/** How it stands with all captures, with the client, and what hinders. */

import { html } from "./web/vendor/lit-html/lit-html.js";
import { number, when } from "./web/format.js";
import { text } from "./texts.js";

/** The way of a capture. */
export const STEPS = ["saved", "handed", "pulled", "stored"];

/** Whether the client answers, and since when. */
export function connection({ client }) {
  if (client.answers === null) return html`<p class="badge">${text("asking")}</p>`;
  const since = text("answers_since", { when: when(client.since) });
  const [look, words] = client.answers ? ["good", text("answers")] : ["bad", text("silent")];
  return html`<p class="badge ${look}" title=${since}><span>${words}</span> <span class="since">${since}</span></p>`;
}

/** How many captures are where on their way. */
export function summary({ captures }) {
  const count = (state) => captures.filter((each) => each.state === state).length;
  return html`<dl class="summary card" aria-label=${text("way")}>
    ${STEPS.map((state) => html`<div class=${state}>
      <dt>${text(state)}</dt>
      <dd class="count">${number(count(state))}</dd>
      <dd class="help muted">${text(`${state}_help`)}</dd>
    </div>`)}
  </dl>`;
}

/** What was lost at the last press of a button: in sight, however far down one has scrolled. */
export function notSaved({ notSaved: words }) {
  return words ? html`<p class="notice bad not-saved">${words}</p>` : "";
}

/** What hinders, and what to do about it. */
export function notices(model) {
  const refused = model.captures.filter(({ state }) => state === "refused").length;
  return [
    hindrance(model) ? html`<p class="notice warn" id="hindrance">${hindrance(model)}</p>` : "",
    refused > 0 ? refusals(refused) : "",
    model.isClosed ? html`<p class="notice">${text("closed")}</p>` : "",
  ];
}

function refusals(count) {
  return html`<p class="notice bad">${text("refused_count", { count })}
    <a href="#captures">${text("see_refused")}</a></p>`;
}

/** In words, why captures are not handed over, or would not be; empty when all is well. */
export function hindrance({ problem, client, storageProblem, speciesProblem, clientProblem }) {
  if (storageProblem) return storageProblem;
  if (speciesProblem) return text("no_species", { said: speciesProblem });
  if (problem) return text(problem.kind, { when: when(problem.since), said: problem.said });
  if (clientProblem) return text("unwell", { said: clientProblem });
  return client.answers === false ? text("away", { when: when(client.since) }) : "";
}
