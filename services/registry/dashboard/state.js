/** What the page knows now, in one place. Whoever changes it says so by `changed`, and the page is rendered once. */

import { routeOf } from "./routes.js";

export const state = {
  /** Where the page is; see routes.js. */
  route: routeOf(location.hash),
  /** What the caller may: `{scope, needs_token}`; null as long as that is not known. */
  access: null,
  /** Why there is nothing to see: `{kind: "asking" | "sign_in" | "away", text}`; null when there is. */
  outside: { kind: "asking", text: "" },
  /**
   * How the event stream does: `{is: "connecting" | "live" | "away" | "refused" | "hidden", since, why}`; `since` in
   * ms, and `refused` for what can't be asked for at all.
   */
  live: { is: "connecting", since: Date.now(), why: "" },
  /** The latest event of each topic; null for what was not heard yet. */
  heard: {},
  /** Where the page was when it heard that. */
  heardAt: {},
  /** A sentence of the registry: what it can't read at the moment. */
  problem: "",
  /** What came of the last action: `{text, isBad}`. */
  notice: null,
  /** Keys of the actions that are under way. */
  busy: new Set(),
};

let draw = () => {};
let isDue = false;

/** `render` is called, at once for all changes of a moment, whenever something changed. */
export function rendersBy(render) {
  draw = render;
}

/** Something in `state`, or of a view's own, is another now. */
export function changed() {
  if (isDue) return;
  isDue = true;
  queueMicrotask(() => {
    isDue = false;
    draw();
  });
}

const SCOPES = ["read", "operate", "admin"];

/** Whether the caller may do what takes this scope. */
export const may = (scope) => state.access !== null && SCOPES.indexOf(state.access.scope) >= SCOPES.indexOf(scope);
