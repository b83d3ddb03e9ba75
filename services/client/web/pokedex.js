/**
 * Which Pokémon there are, and which of them the user holds: the last capture of a Pokémon by time decides, as for
 * those who store it. `favorite` holds it as a favourite, `capture` holds it, and a removal of either ends that.
 *
 * @typedef {{id: number, name: string}} Species
 * @typedef {"held" | "favourite" | "gone"} Holding
 */

import { displayName } from "./web/pokemon.js";

const LAST_SPECIES = 1_025; // what comes after them are forms

/** The shipped table by number; rejects when it can't be read. */
export async function loadSpecies() {
  const response = await fetch(new URL("./species.csv", import.meta.url));
  if (!response.ok) throw new Error(`species.csv: HTTP ${response.status}`);
  const [, ...rows] = (await response.text()).trim().split(/\r?\n/);
  return new Map(rows.map((row) => row.split(",")).map(([id, name]) => [Number(id), name]));
}

/**
 * What the last capture of each Pokémon made of it, by its number. A refused one counts for nothing.
 *
 * @type {(captures: import("./captures.js").Capture[]) =>
 *   Map<number, {holding: Holding, last: import("./captures.js").Capture}>} of captures that are oldest first
 */
export const holdings = onceForEachList((captures) => {
  const counted = captures.filter(({ state }) => state !== "refused");
  return new Map(counted.map((last) => [last.pokemon_id, { holding: holdingAfter(last), last }]));
});

/**
 * The captures as what the user did, by their ids. A capture of a favourite makes it none.
 *
 * @type {(captures: import("./captures.js").Capture[]) =>
 *   Map<string, "captured" | "released" | "favourite" | "unfavourite">} of captures that are oldest first
 */
export const deeds = onceForEachList((captures) => {
  const before = new Map();
  return new Map(captures.map((each) => {
    const [was, is] = [before.get(each.pokemon_id), holdingAfter(each)];
    if (each.state !== "refused") before.set(each.pokemon_id, is);
    return [each.capture_id, deed(was, is)];
  }));
});

/**
 * The Pokémon to be shown, by their numbers: all species, and of the forms those that were ever captured.
 *
 * @param {Map<number, string>} species
 * @param {ReturnType<typeof holdings>} held
 * @param {{query: string, filter: "all" | "held" | "favourite"}} wanted
 * @returns {Species[]}
 */
export function matching(species, held, { query, filter }) {
  const forms = [...held.values()].filter(({ last }) => !isListed(last.pokemon_id, species));
  const listed = [...species].filter(([id]) => id <= LAST_SPECIES).map(([id, name]) => ({ id, name }));
  const others = forms.map(({ last }) => ({ id: last.pokemon_id, name: nameOf(last, species) }));
  return [...listed, ...others.sort((one, other) => one.id - other.id)]
    .filter(({ id }) => isWanted(held.get(id)?.holding, filter))
    .filter(found(query));
}

/** By the table; else as whoever captured it has written it. */
export const nameOf = ({ pokemon_id: id, pokemon_name: name }, species) => species.get(id) ?? (name || `${id}`);

/** A frame needs it several times, and most frames come without another capture. */
function onceForEachList(work) {
  const done = new WeakMap();
  return (captures) => {
    if (!done.has(captures)) done.set(captures, work(captures));
    return done.get(captures);
  };
}

const isListed = (id, species) => id <= LAST_SPECIES && species.has(id);

function holdingAfter({ removed, action }) {
  if (removed) return "gone";
  return action === "favorite" ? "favourite" : "held";
}

function deed(was, is) {
  if (is === "gone") return "released";
  if (is === "favourite") return "favourite";
  return was === "favourite" ? "unfavourite" : "captured";
}

function isWanted(holding, filter) {
  if (filter === "all") return true;
  return holding === "favourite" || (filter === "held" && holding === "held");
}

/** By the beginning of the number, or any part of the name. */
function found(query) {
  const plain = withoutAccents(query);
  const number = /^#?0*(\d+)$/.exec(plain)?.[1];
  if (number) return ({ id, name }) => String(id).startsWith(number) || withoutAccents(name).includes(number);
  return ({ name }) => withoutAccents(displayName(name)).includes(plain);
}

const withoutAccents = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replaceAll("-", " ").trim();
