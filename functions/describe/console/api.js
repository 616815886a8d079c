/** Calls the API, and describes in words what went wrong. */

import { ended, session, token } from "./session.js";

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
const SILENT = "The server does not answer. It may be busy, or the connection is dead without being closed.";
const SLOWEST = 20; // Bytes in a millisecond: what goes over a slower line is given up.

const MARGIN = 3_000; // Milliseconds: a server says its time in whole seconds, and it takes some time to arrive.
let ahead = MARGIN; // Milliseconds by which the server's clock is ahead of this one, at most.

/** A time of this clock as a header has it, by the server's clock: rather later than it was than earlier. */
export const httpDate = (time) => new Date(time + ahead).toUTCString();

/** Milliseconds that one waits for an answer to begin, and then to end; longer for what is large. */
export const PATIENCE = 60_000;

/** Read: `get("/predictions", {limit: 10})`. Members of the query that are null, undefined or "" are left out. */
export async function get(path, query = {}, { signal } = {}) {
  return parsed(await exchange("GET", path, { query, signal }));
}

/**
 * Change: the body is `json`, or `body` as it is. Returns the answer's JSON, or null if it has none. If `as` is the id
 * of a user, the request is sent as that user or not at all.
 */
export async function send(method, path, options = {}) {
  const text = await exchange(method, path, options);
  return text === "" ? null : parsed(text);
}

/** Return a stored input or output as bytes. */
export async function blob(path, { signal, headers = {} } = {}) {
  return exchange("GET", path, { signal, headers: { Accept: "*/*", ...headers }, form: "blob" });
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

/** What to throw if an answer cannot be that of the API. */
export const notOurs = () =>
  new Problem("What answered is not this server. Is there something in between?", { kind: "unreachable" });

/** Return what a text of the API says. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch { // not ours: a proxy's page, or that of a network one has to sign in to
    throw notOurs();
  }
}

/** Send a request and read its answer whole. The connection may break, or fall silent, at any time. */
async function exchange(method, path, { json, body, headers = {}, query = {}, signal, as, form = "text" } = {}) {
  const all = { Accept: "application/json", ...headers };
  const own = await token(as);
  if (own === null && (as || session.required)) { // the API would only refuse it
    if (!as) ended();
    throw new Problem("Your session has ended: sign in to go on.", { kind: "signed out" });
  }
  if (own !== null) all.Authorization = `Bearer ${own}`;
  if (json !== undefined) {
    all["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  const controller = new AbortController();
  let timer = null;
  const wait = (size) => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(new Problem(SILENT, { kind: "unreachable" })), PATIENCE + size / SLOWEST);
  };
  const stop = () => controller.abort();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    wait(sizeOf(body));
    const response = await fetch(withQuery(path, query), { method, headers: all, body, signal: controller.signal });
    wait(Number(response.headers.get("Content-Length")));
    const date = Date.parse(response.headers.get("Date"));
    if (date) ahead = date + MARGIN - Date.now();
    if (!response.ok) throw await problemOf(response);
    return await response[form]();
  } catch (error) {
    const { reason } = controller.signal; // A browser may say of a body that it was aborted, and not why.
    if (reason instanceof Problem) throw reason;
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE, { kind: "unreachable" });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** About how many bytes a body has. */
function sizeOf(body) {
  if (body instanceof FormData) return [...body.values()].reduce((sum, part) => sum + sizeOf(part), 0);
  return body?.size ?? body?.byteLength ?? body?.length ?? 0;
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
