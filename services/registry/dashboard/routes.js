/** Where the page is, by the part behind `#`: so that links, bookmarks and the back button work. */

const VIEWS = ["clients", "runs", "queues"];

/**
 * @param {string} hash as `location.hash` has it.
 * @returns {{view: string, id: string | null, query: URLSearchParams}} `view` is `unknown` for what leads nowhere.
 */
export function routeOf(hash) {
  const [path, query = ""] = split(hash.replace(/^#?\/?/, ""), "?");
  const [view, id] = split(path, "/");
  const found = { view: "unknown", id: null, query: new URLSearchParams(query) };
  if (view === "") return { ...found, view: "overview" };
  if (!VIEWS.includes(view)) return found;
  if (!id) return { ...found, view };
  try {
    return view === "clients" ? { ...found, view: "client", id: decodeURIComponent(id) } : found;
  } catch {
    return found; // it is no text that was encoded
  }
}

/** The link to a client's page. */
export const clientLink = (userId) => `#/clients/${encodeURIComponent(userId)}`;

/** The link to a page of clients; what is empty is left out. */
export function clientsLink({ state = "", search = "", after = "" } = {}) {
  const query = new URLSearchParams(Object.entries({ state, search, after }).filter(([, value]) => value));
  return query.size ? `#/clients?${query}` : "#/clients";
}

function split(text, by) {
  const at = text.indexOf(by);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
