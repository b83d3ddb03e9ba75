/**
 * The event stream of this tab: one at a time, by `fetch`, since `EventSource` can't send a token.
 *
 * It comes back by itself, later and later; it is closed while nobody sees the tab, and says since when it is not live.
 */

import { EventSourceParserStream } from "./web/vendor/eventsource-parser/stream.js";
import { ADMIN, Problem, request } from "./api.js";
import { t } from "./texts.js";

const FIRST_MS = 500;
const LONGEST_MS = 15_000;
const QUIET_MS = 45_000; // comments come more often

/** One stream of events, kept open. */
export class Live {
  #heard;
  #became;
  #refused;
  #query = null;
  #open = null;

  /**
   * @param {object} hooks
   * @param {(topic: string, data: any) => void} hooks.heard an event.
   * @param {(now: {is: string, since: number, why: string}) => void} hooks.became how the stream does; see state.js.
   * @param {(problem: import("./api.js").Problem) => void} hooks.refused the token opens it no more.
   */
  constructor({ heard, became, refused }) {
    this.#heard = heard;
    this.#became = became;
    this.#refused = refused;
    document.addEventListener("visibilitychange", () => this.#reopen());
    addEventListener("online", () => this.#reopen());
  }

  /** Listen from now on to what this query asks for, and to nothing else; null for nothing at all. */
  follow(query) {
    this.#query = query;
    this.#reopen();
  }

  #reopen() {
    this.#open?.abort();
    this.#open = null;
    if (this.#query === null) return;
    if (document.hidden) {
      this.#become("hidden");
      return;
    }
    this.#open = new AbortController();
    this.#keepOpen(this.#query, this.#open.signal);
  }

  async #keepOpen(query, signal) {
    this.#become("connecting");
    for (let tries = 0; !signal.aborted; tries += 1) {
      let why = t("stream_ended");
      try {
        await this.#listen(query, signal, () => {
          tries = 0;
          this.#become("live");
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 401 || error.status === 403) return void this.#refused(error);
        if (isForGood(error)) return void this.#become("refused", error.message);
        why = error.status === undefined ? why : error.message;
      }
      if (signal.aborted) return;
      this.#become("away", why);
      await passed(Math.min(FIRST_MS * 2 ** tries, LONGEST_MS) * (0.5 + Math.random() / 2), signal);
    }
  }

  async #listen(query, signal, begun) {
    const quiet = new AbortController();
    let timer = setTimeout(() => quiet.abort(), QUIET_MS);
    let hasBegun = false;
    const isAlive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), QUIET_MS);
      if (signal.aborted || hasBegun) return;
      hasBegun = true;
      begun();
    };
    try {
      const response = await request("GET", `${ADMIN}/events`, {
        query,
        signal: AbortSignal.any([signal, quiet.signal]),
      });
      const events = response.body
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream({ onComment: isAlive }))
        .getReader();
      for (let { done, value } = await events.read(); !done; { done, value } = await events.read()) {
        isAlive();
        if (!signal.aborted) this.#heard(value.event ?? "message", JSON.parse(value.data));
      }
    } catch (error) {
      throw quiet.signal.aborted && !hasBegun ? new Problem(t("stream_silent")) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #become(is, why = "") {
    this.#became({ is, why, since: Date.now() });
  }
}

/** Whether the registry says that it can't be asked for this, at any time. */
const isForGood = ({ status, isOwn }) => isOwn && status >= 400 && status < 500 && status !== 408 && status !== 429;

/** Resolves after so many milliseconds, or when the signal says that nobody waits any more. */
function passed(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
