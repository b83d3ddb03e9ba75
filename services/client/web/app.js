/**
 * The capture app: puts its parts together, and renders what they know.
 *
 * @typedef {ReturnType<App["model"]>} Model what is shown
 * @typedef {App["actions"]} Actions what the user may do
 */

import { render } from "./web/vendor/lit-html/lit-html.js";
import { displayName } from "./web/pokemon.js";
import { Captures } from "./captures.js";
import { Client } from "./client.js";
import { keepingFocus } from "./focus.js";
import { Handover } from "./handover.js";
import { keepCaptures, keepPage } from "./offline.js";
import { deeds, holdings, loadSpecies } from "./pokedex.js";
import { whileSeen } from "./polling.js";
import { Ranking } from "./ranking-feed.js";
import { States } from "./states.js";
import { takeOver } from "./takeover.js";
import { text } from "./texts.js";
import { deedOf } from "./view-captures.js";
import { hindrance } from "./view-status.js";
import { page, sectionNow } from "./view.js";

const ENTRIES_AT_ONCE = 60;
const NEAR = "800px";

class App {
  #root = document.getElementById("app");
  #client = new Client();
  #ranking = new Ranking({ client: this.#client });
  /** @type {Captures | null} */
  #captures = null;
  /** @type {Handover | null} */
  #handover = null;
  #species = new Map();
  #shown = { query: "", filter: "all", shown: ENTRIES_AT_ONCE };
  #problems = { storageProblem: "", speciesProblem: "", notSaved: "" };
  /** @type {Awaited<ReturnType<typeof takeOver>> | "running"} */
  #takeOver = "failed";
  #isDrawing = false;
  #hindrance = "";
  #nearEnd = new IntersectionObserver((seen) => seen.some(isSeen) && this.actions.more(), { rootMargin: NEAR });

  actions = {
    search: (query) => this.#show({ query, shown: ENTRIES_AT_ONCE }),
    show: (filter) => this.#show({ filter, shown: ENTRIES_AT_ONCE }),
    more: () => this.#show({ shown: this.#shown.shown + ENTRIES_AT_ONCE }),
    change: (made) => this.#save(made),
    tryAgain: (id) => this.#captures.tryAgain(id).catch((error) => this.#notSaved(error, { pokemon_name: "" })),
  };

  /** Everything that the page shows. */
  model() {
    const captures = this.#captures?.all() ?? [];
    return {
      ...{ captures, held: holdings(captures), species: this.#species, canSave: this.#captures !== null },
      ...{ ...this.#shown, ...this.#problems, section: sectionNow(), ranking: this.#ranking, client: this.#client },
      ...{ problem: this.#handover?.problem ?? null, isClosed: this.#takeOver === "closed" },
    };
  }

  async start() {
    this.#draw();
    addEventListener("hashchange", () => this.#goTo(sectionNow()));
    this.#client.addEventListener("change", () => this.#draw());
    keepPage();
    await Promise.all([this.#loadSpecies(), this.#openCaptures()]);
    this.#draw();
    whileSeen(() => this.#look());
  }

  /** Ask for what changes without anybody's doing here. */
  async #look() {
    const pauseMs = await this.#ranking.step();
    this.#draw();
    if (this.#client.answers) this.#bringIn();
    return pauseMs;
  }

  async #loadSpecies() {
    try {
      this.#species = await loadSpecies();
    } catch (error) {
      this.#problems.speciesProblem = String(error);
    }
  }

  async #openCaptures() {
    try {
      this.#captures = await Captures.open();
    } catch (error) {
      this.#problems.storageProblem = String(error);
      return;
    }
    this.#follow({ captures: this.#captures, client: this.#client });
  }

  /** From here on everything goes its way by itself. */
  #follow(parts) {
    const handover = new Handover(parts);
    const states = new States(parts);
    this.#handover = handover;
    const askStates = whileSeen(() => states.step());
    parts.captures.addEventListener("change", () => this.#draw());
    parts.captures.addEventListener("change", () => parts.captures.in("saved").length > 0 && handover.offer());
    handover.addEventListener("change", () => this.#draw());
    handover.addEventListener("handed", () => askStates());
    addEventListener("online", () => handover.wake());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && handover.wake());
    this.#client.addEventListener("change", () => this.#client.answers && handover.wake());
    handover.wake();
    this.#bringIn();
  }

  /** Until it was done once. */
  async #bringIn() {
    if (this.#takeOver !== "failed" || this.#captures === null) return;
    this.#takeOver = "running";
    this.#takeOver = await takeOver({ captures: this.#captures, client: this.#client }).catch(() => "failed");
    this.#draw();
  }

  async #save(made) {
    try {
      const capture = await this.#captures.add(made);
      this.#problems.notSaved = "";
      const done = deedOf(capture, deeds(this.#captures.all()), this.#species);
      say(text("spoken_saved", { deed: done }));
    } catch (error) {
      this.#notSaved(error, made);
    }
    this.#draw();
    keepCaptures();
  }

  #notSaved(error, { pokemon_name: name }) {
    this.#problems.notSaved = text("not_saved", { name: displayName(name), said: String(error) });
    say(this.#problems.notSaved);
    this.#draw();
  }

  #show(change) {
    Object.assign(this.#shown, change);
    this.#draw();
  }

  #goTo(name) {
    this.#render();
    scrollTo(0, 0);
    document.getElementById(`${name}-title`)?.focus();
  }

  /** Once for all that changes before the next frame. */
  #draw() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#render();
    });
  }

  #render() {
    const model = this.model();
    keepingFocus(() => render(page(model, this.actions), this.#root));
    const hinders = hindrance(model);
    if (hinders !== this.#hindrance) say(hinders || text("answers"));
    this.#hindrance = hinders;
    this.#nearEnd.disconnect();
    const more = this.#root.querySelector(".more");
    if (more) this.#nearEnd.observe(more);
  }
}

const isSeen = ({ isIntersecting }) => isIntersecting;

/** To who listens to the page. */
function say(words) {
  document.getElementById("spoken").textContent = words;
}

new App().start();
