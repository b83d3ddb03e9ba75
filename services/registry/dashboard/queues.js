/** Queues of RabbitMQ, as its management API has them; dead letters and the quarantine below. */

import { html, nothing } from "./web/vendor/lit-html/lit-html.js";
import { repeat } from "./web/vendor/lit-html/directives/repeat.js";
import { number } from "./web/format.js";
import { locale } from "./web/language.js";
import { deadLetters } from "./dead_letters.js";
import { quarantine } from "./quarantine.js";
import { state } from "./state.js";
import { t } from "./texts.js";
import { cards, cell, countCell, waiting } from "./widgets.js";

export const queues = {
  title: () => t("queues"),
  topics: () => [["topics", "queues"]],
  render: () => html`
    <section class="card" aria-labelledby="queues-title">
      <header class="line">
        <h2 id="queues-title">${t("queues_of_rabbitmq")}</h2>
        ${management(state.heard.queues)}
      </header>
      ${state.heard.queues ? all(state.heard.queues) : waiting()}
    </section>
    ${deadLetters(state.heard.queues)}
    ${quarantine()}`,
};

function management(known) {
  const url = known?.management_url;
  // It is a setting of the registry's; even so nothing but a web address becomes a link.
  if (!url || !/^https?:\/\//.test(url)) return nothing;
  return html`<a href=${url} target="_blank" rel="noreferrer noopener">${t("management_ui")}</a>`;
}

function all({ problem, queues: known }) {
  const columns = [
    [t("queue")],
    [t("kind")],
    [t("ready"), "number"],
    [t("unacknowledged"), "number"],
    [t("consumers"), "number"],
    [t("published_per_s"), "number"],
    [t("delivered_per_s"), "number"],
  ];
  return html`
    ${problem ? html`<p class="notice warn">${problem}</p>` : nothing}
    ${
      known.length
        ? cards(
            t("queues_of_rabbitmq"),
            columns,
            repeat(known, (queue) => queue.queue, row),
          )
        : nothing
    }`;
}

function row(queue) {
  const isAlone = queue.kind === "work" && !queue.consumers;
  const isWrong = (queue.kind === "dead" && queue.messages > 0) || isAlone;
  return html`<tr role="row">
    ${cell(t("queue"), html`<code>${queue.queue}</code>`, "who")}
    ${cell(t("kind"), html`<span class="badge ${isWrong ? "bad" : ""}">${t(`queue_${queue.kind}`)}</span>`)}
    ${cell(t("ready"), number(queue.ready), "number")}
    ${countCell(t("unacknowledged"), queue.unacknowledged)}
    ${
      isAlone
        ? cell(t("consumers"), html`<span class="bad">0</span>`, "number")
        : countCell(t("consumers"), queue.consumers)
    }
    ${countCell(t("published_per_s"), queue.publish_rate, rate(queue.publish_rate))}
    ${countCell(t("delivered_per_s"), queue.deliver_rate, rate(queue.deliver_rate))}
  </tr>`;
}

const rate = (value) =>
  value === null || value === undefined ? "–" : value.toLocaleString(locale, { maximumFractionDigits: 1 });
