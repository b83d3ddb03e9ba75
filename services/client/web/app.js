/**
 * The capture app: puts its parts together, and renders what they know.
 *
 * @typedef {ReturnType<App["model"]>} Model what is shown
 * @typedef {App["actions"]} Actions what the user may do
 */

import { render } from "./web/vendor/lit-html/lit-html.js";
import { when } from "./web/format.js";
import { displayName } from "./web/pokemon.js";
import { Captures } from "./captures.js";
import { Client } from "./client.js";
import { keepingFocus } from "./focus.js";
import { Handover } from "./handover.js";
import { keepCaptures, keepPage } from "./offline.js";
import { deeds, holdings, loadSpecies, nameOf } from "./pokedex.js";
import { whileSeen } from "./polling.js";
import { Ranking } from "./ranking-feed.js";
import { States } from "./states.js";
import { TakeOver } from "./takeover.js";
import { text } from "./texts.js";
import { deedOf } from "./view-captures.js";
import { hindrance } from "./view-status.js";
import { page, sectionNow } from "./view.js";

const ENTRIES_AT_ONCE = 60;
const NEAR = "800px";
const OPENING_MS = 5_000;

class App {
  #root = document.getElementById("app");
  #client = new Client();
  #ranking = new Ranking({ client: this.#client });
  /** @type {Captures | null} */
  #captures = null;
  /** @type {Handover | null} */
  #handover = null;
  /** @type {TakeOver | null} */
  #takeOver = null;
  #species = new Map();
  #shown = { query: "", filter: "all", shown: ENTRIES_AT_ONCE };
  #problems = { speciesProblem: "", notSaved: "", clientProblem: "" };
  #openProblem = "";
  /** The Pokémon whose captures are being saved. */
  #saving = new Set();
  #isDrawing = false;
  #hindrance = "";
  #nearEnd = new IntersectionObserver((seen) => seen.some(isSeen) && this.actions.more(), { rootMargin: NEAR });

  actions = {
    search: (query) => this.#show({ query, shown: ENTRIES_AT_ONCE }),
    show: (filter) => this.#show({ filter, shown: ENTRIES_AT_ONCE }),
    more: () => this.#show({ shown: this.#shown.shown + ENTRIES_AT_ONCE }),
    change: (made) => this.#save(made),
    tryAgain: (id) => this.#tryAgain(id),
  };

  /** Everything that the page shows. */
  model() {
    const captures = this.#captures?.all() ?? [];
    return {
      captures,
      held: holdings(captures),
      species: this.#species,
      canSave: this.#captures !== null,
      section: sectionNow(),
      ranking: this.#ranking,
      client: this.#client,
      problem: this.#handover?.problem ?? null,
      isClosed: this.#takeOver?.isClosed === true,
      storageProblem: this.#openProblem || storageWords(this.#captures?.trouble ?? this.#takeOver?.trouble),
      ...this.#shown,
      ...this.#problems,
    };
  }

  /** What is there is shown, whatever does not come. */
  start() {
    this.#draw();
    addEventListener("hashchange", () => this.#goTo(sectionNow()));
    addEventListener("keydown", ignoreHeldKey);
    this.#client.addEventListener("change", () => this.#clientChanged());
    keepPage();
    this.#loadSpecies();
    const look = whileSeen(() => this.#look());
    this.#openCaptures(look);
  }

  #clientChanged() {
    if (this.#client.answers) this.#handover?.hurry();
    this.#draw();
  }

  /** Ask for what changes without anybody's doing here. */
  async #look() {
    const pauseMs = await this.#ranking.step();
    await this.#askHealth();
    this.#draw();
    if (this.#client.answers) this.#bringIn();
    return pauseMs;
  }

  /** A client whose database can't be used says so, also while nothing waits to be handed over. */
  async #askHealth() {
    const { status, body } = await this.#client.ask("health");
    this.#problems.clientProblem = status === 503 && typeof body.error === "string" ? body.error : "";
  }

  async #loadSpecies() {
    try {
      this.#species = await loadSpecies();
    } catch (error) {
      this.#problems.speciesProblem = String(error);
    }
    this.#draw();
  }

  async #openCaptures(look) {
    const late = setTimeout(() => this.#tellOpening(text("not_opened")), OPENING_MS);
    try {
      const captures = await Captures.open();
      this.#tellOpening("");
      this.#follow({ captures, client: this.#client }, look);
    } catch (error) {
      this.#tellOpening(isNewer(error) ? text("newer") : text("no_storage", { said: String(error) }));
    }
    clearTimeout(late);
  }

  #tellOpening(words) {
    this.#openProblem = words;
    this.#draw();
  }

  /** From here on everything goes its way by itself. */
  #follow(parts, look) {
    const { captures, client } = parts;
    const [handover, states] = [new Handover(parts), new States(parts)];
    [this.#captures, this.#handover, this.#takeOver] = [captures, handover, new TakeOver(parts)];
    const askStates = whileSeen(() => states.step());
    captures.addEventListener("change", () => this.#changed());
    handover.addEventListener("change", () => this.#draw());
    handover.addEventListener("change", () => client.answers && handover.problem?.kind === "away" && look());
    handover.addEventListener("handed", () => askStates());
    handover.addEventListener("handed", () => (client.answers === false || this.#problems.clientProblem) && look());
    addEventListener("online", () => [handover.hurry(), look()]);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && handover.hurry());
    handover.wake();
    this.#bringIn();
  }

  /** Something waits for the client; or another tab has handed over what waited, and nothing is in the way of it. */
  #changed() {
    if (this.#captures.in("saved").length > 0) this.#handover.offer();
    else if (this.#handover.problem !== null) this.#handover.wake();
    this.#draw();
  }

  async #bringIn() {
    await this.#takeOver?.goOn();
    this.#draw();
  }

  /** Not while the same Pokémon is being saved: its buttons mean something else as soon as it is. */
  async #save(made) {
    if (this.#saving.has(made.pokemon_id)) return;
    this.#saving.add(made.pokemon_id);
    try {
      const capture = await this.#captures.add(made);
      this.#problems.notSaved = "";
      const done = deedOf(capture, deeds(this.#captures.all()), this.#species);
      say(text("spoken_saved", { deed: done }));
    } catch (error) {
      this.#notSaved(error, made);
    }
    this.#saving.delete(made.pokemon_id);
    this.#render();
    keepCaptures().catch(() => {}); // a browser that does not tell whether it keeps them is as one that does not
  }

  async #tryAgain(id) {
    const capture = this.#captures.all().find((each) => each.capture_id === id);
    try {
      await this.#captures.tryAgain(id);
      this.#problems.notSaved = "";
    } catch (error) {
      this.#notSaved(error, capture);
    }
  }

  #notSaved(error, capture) {
    const name = displayName(nameOf(capture, this.#species));
    this.#problems.notSaved = text("not_saved", { name, said: String(error) });
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
    if (hinders !== this.#hindrance) say(hinders || text("answers"), "spoken-hindrance");
    this.#hindrance = hinders;
    this.#nearEnd.disconnect();
    const more = this.#root.querySelector(".more");
    if (more) this.#nearEnd.observe(more);
  }
}

const isSeen = ({ isIntersecting }) => isIntersecting;

/** A key that is held down presses a button once. */
function ignoreHeldKey(event) {
  if (event.repeat && event.key === "Enter" && event.target instanceof HTMLButtonElement) event.preventDefault();
}

/** Another version of the page has changed the form of the database. */
const isNewer = ({ name }) => name === "VersionError";

/** What is wrong with the browser's storage, and what to do. */
function storageWords(trouble) {
  if (!trouble) return "";
  const { error, since } = trouble;
  return isNewer(error) ? text("newer") : text("disk", { when: when(since), said: String(error) });
}

/** To who listens to the page; what is said at one place does not cut off what is said at the other. */
function say(words, place = "spoken") {
  document.getElementById(place).textContent = words;
}

new App().start();
