/** Calls the registry, with the operator's token where he has signed in. What goes wrong is a `Problem`, a sentence. */

import { t } from "./texts.js";

export const PULL_SYNC = "/api/v1/pull-sync";
export const ADMIN = "/api/v1/admin";

const KEPT_AS = "pullsync-operator-token";
const PATIENCE_MS = 75_000;
const WORTH_MENTIONING_MS = 5_000;

let aheadMs = 0;

/** What is wrong and what to do, as the registry says it, or as we do where it says nothing. */
export class Problem extends Error {
  /**
   * @param {number} status of HTTP; 0 when there was no answer.
   * @param {boolean} isOwn whether the registry said it, and not something on the way to it.
   */
  constructor(sentence, status = 0, isOwn = false) {
    super(sentence);
    this.status = status;
    this.isOwn = isOwn;
  }
}

/** The token of this tab; it is gone with the tab. */
export const token = {
  get: () => sessionStorage.getItem(KEPT_AS) ?? "",
  keep: (value) => sessionStorage.setItem(KEPT_AS, value),
  forget: () => sessionStorage.removeItem(KEPT_AS),
};

/** The moment in milliseconds, by the registry's clock where this machine's is wrong. */
export const now = () => Date.now() + aheadMs;

/**
 * The answer to a request, read by nobody yet.
 *
 * @throws {Problem} there was none, or it was a refusal.
 */
export async function request(method, path, { query = [], body, signal } = {}) {
  const headers = new Headers();
  if (token.get()) headers.set("authorization", `Bearer ${token.get()}`);
  if (body !== undefined) headers.set("content-type", "application/json");
  const search = new URLSearchParams(query);
  const url = search.size ? `${path}?${search}` : path;
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(t("registry_away"));
  }
  takeTime(response);
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** The JSON of an answer. Throws as `request` does. */
export async function call(method, path, options = {}) {
  return (await answerTo(method, path, options)).data;
}

/** The list that an answer is. Throws as `request` does, and where it is none. */
export async function callForList(method, path, options = {}) {
  return (await callForPage(method, path, options)).data;
}

/** A page of a list, and the query of the next page; null on the last. Throws as `callForList` does. */
export async function callForPage(method, path, options = {}) {
  const { data, response } = await answerTo(method, path, options);
  if (!Array.isArray(data)) throw oddly(response);
  const next = /<([^>]*)>;\s*rel="next"/.exec(response.headers.get("link") ?? "");
  return { data, next: next && new URL(next[1], location.href).searchParams };
}

async function answerTo(method, path, options) {
  const response = await request(method, path, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) }).catch(late);
  const data = await response.json().catch(() => {
    throw oddly(response);
  });
  return { data, response };
}

const oddly = (response) => new Problem(t("odd_answer", { status: response.status }));

/** The path of what concerns a client, for `before` such as `/clients/`. */
export function clientPath(before, userId) {
  // A browser takes these for steps up in the path, however they are written.
  if (userId === "." || userId === "..") throw new Problem(t("unnameable_client"));
  return `${PULL_SYNC}${before}${encodeURIComponent(userId)}`;
}

function late(error) {
  throw error instanceof Problem ? error : new Problem(t("registry_slow"));
}

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  const isOwn = typeof problem?.detail === "string";
  const sentence = isOwn ? problem.detail : t("odd_answer", { status: response.status });
  return new Problem(sentence, response.status, isOwn);
}

function takeTime(response) {
  const ahead = Date.parse(response.headers.get("date") ?? "") - Date.now();
  aheadMs = Math.abs(ahead) > WORTH_MENTIONING_MS ? ahead : 0; // not a number counts as right
}
