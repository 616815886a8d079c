/** Calls the API, and describes in words what went wrong. */

import { ended, token } from "./session.js";

/**
 * A call that failed. `message` is for people; `errors` says what is wrong where, as in application/problem+json.
 * `kind` is "refused" (another request is needed), "unavailable" (the same may succeed later), "unreachable" (no answer
 * came, so a write may have happened) or "signed out".
 */
export class Problem extends Error {
  constructor(message, { kind, status = null, errors = [], retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, errors, retryAfter });
  }
}

const UNREACHABLE = "The server cannot be reached. Is it running, and are you online?";

/** Read: `get("/predictions", {limit: 10})`. Members of the query that are null, undefined or "" are left out. */
export async function get(path, query = {}, { signal } = {}) {
  return parsed(await read(await answer("GET", path, { query, signal }), "text"));
}

/**
 * Change: the body is `json`, or `body` as it is. Returns the answer's JSON, or null if it has none. If `as` is the id
 * of a user, the request is sent as that user or not at all.
 */
export async function send(method, path, options = {}) {
  const text = await read(await answer(method, path, options), "text");
  return text === "" ? null : parsed(text);
}

/** Return a stored input or output as bytes. */
export async function blob(path, { signal, headers = {} } = {}) {
  return read(await answer("GET", path, { signal, headers: { Accept: "*/*", ...headers } }), "blob");
}

/** Yield one answer after the other, each with a page of a list. */
export async function* pages(path, query = {}, { signal } = {}) {
  let cursor = null;
  do {
    const page = await get(path, cursor === null ? query : { ...query, cursor }, { signal });
    yield page;
    cursor = page.next_cursor ?? null;
  } while (cursor !== null);
}

/** The connection may break within an answer. */
async function read(response, as) {
  try {
    return await response[as]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE, { kind: "unreachable" });
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch { // not ours: a proxy's page, or that of a network one has to sign in to
    throw new Problem("What answered is not this server. Is there something in between?", { kind: "unreachable" });
  }
}

async function answer(method, path, { json, body, headers = {}, query = {}, signal, as } = {}) {
  const all = { Accept: "application/json", ...headers };
  const own = await token(as);
  if (as && own === null) throw new Problem("Your session has ended: sign in to go on.", { kind: "signed out" });
  if (own !== null) all.Authorization = `Bearer ${own}`;
  if (json !== undefined) {
    all["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(withQuery(path, query), { method, headers: all, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE, { kind: "unreachable" });
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

function withQuery(path, query) {
  const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  const given = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given).toString();
  return search ? `${path}?${search}` : path;
}

async function problemOf(response) {
  let said = null;
  try {
    said = JSON.parse(await response.text());
  } catch { /* not ours: a proxy's page, or the connection broke */ }
  const { status } = response;
  if (status === 401) ended();
  const otherwise = status === 401 ? "Your session has ended: sign in to go on"
    : `The server answered ${status} ${response.statusText}`.trim();
  // An Open Inference Protocol route says `error`, a gateway `message`.
  const message = said?.detail ?? said?.error ?? (status === 401 ? null : said?.message) ?? `${otherwise}.`;
  const seconds = Number(response.headers.get("Retry-After"));
  const kind = status === 401 ? "signed out" : status >= 500 || status === 429 ? "unavailable" : "refused";
  return new Problem(message, { kind, status, errors: said?.errors ?? [], retryAfter: seconds > 0 ? seconds : null });
}
