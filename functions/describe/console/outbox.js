/**
 * The ground truths of every view that are not stored yet. They are kept in the tab's session storage and sent in order
 * until the API accepts or refuses them, so that none is lost if the session ends, the database is down or the page is
 * loaded again. They are only ever sent as the user who gave them.
 *
 * A ground truth that is sent twice is stored once. Of several for one prediction, only the last is sent. One that has
 * waited supersedes nothing that was said since, by a colleague or in another tab, which may be a copy of this one.
 */

import { httpDate, send } from "./api.js";
import { useEffect, useState } from "./html.js";
import { session } from "./session.js";

const STORED = "onnx-ledger.unsaved";
const TOGETHER = 500; // Ground truths in one request: few enough to show progress.
const CHARACTERS_TOGETHER = 1_000_000; // At most 3 MB, and the API takes 4.5 MB.
const FIRST_WAIT = 2_000; // Milliseconds.
const LONGEST_WAIT = 30_000;
const FRESH = 5_000; // Milliseconds: what is younger has not waited.

/**
 * @typedef {object} Truth
 * @property {{name: "prediction_id"|"inference_id", value: string}} id
 * @property {?string} text Its JSON, as a line of `POST /ground_truth`; null withdraws the ground truth.
 * @property {string} what What it is, in words.
 *
 * @typedef {object} Course What has become of the truths of one call of `post`. Each is the object that was passed in.
 * @property {number} of How many there are.
 * @property {Truth[]} stored
 * @property {[Truth, string][]} refused Each with the reason.
 * @property {Truth[]} superseded Replaced by a later truth for the same prediction before they were sent.
 * @property {Truth[]} stopped Will not be sent any more.
 * @property {Truth[]} waiting
 * @property {number} changed How many predictions have a different ground truth now.
 * @property {?Error} problem Why the waiting ones could not be stored so far.
 */

let kept = []; // {call, at, owner, key, id, text, what, said}: the oldest first. `said`: when.
let refused = []; // {owner, key, id, what, message}
let sending = new Set(); // Those of `kept` that are in the current request.
let request = null; // Its AbortController.
let most = TOGETHER;
let problem = null; // Why the last attempt failed.
let timer = null;
let wait = FIRST_WAIT;
let calls = 0;
const courses = new Map(); // By call: its truths, its course, and who follows it.
const listeners = new Set();

const owner = () => (session.required ? session.user?.id : null);
const isOwn = (one) => one.owner === owner();

/** Return a key that is equal for all ways to write the same id. */
export function keyOf({ name, value }) {
  return name + (name === "prediction_id" ? value.toLowerCase().replaceAll(/[-{}]|^urn:uuid:/g, "") : value);
}

/** Make the truth of a record from what a user gives in the console: `{label}` or `{value}`, or null to withdraw it. */
export function truthOf(id, body, what) {
  const text = body && JSON.stringify({ prediction_id: id, source: "human", ...body });
  return { id: { name: "prediction_id", value: id }, text, what };
}

/**
 * Store truths, or withdraw them. They supersede truths for the same predictions that are not stored yet.
 *
 * @param {Truth[]} truths
 * @param {?function(Course): void} told Called whenever their course changes. It must show what is refused.
 * @returns {{done: Promise<Course>, stop: function(): void, leave: function(): void}} `done` settles once none waits.
 *   `stop` sends no more of them. After `leave`, the frame shows what is refused, as it does without `told`.
 */
export function post(truths, told = null) {
  const call = `${performance.timeOrigin} ${++calls}`; // Unique among all pages that this tab loads.
  const course = { of: truths.length, stored: [], refused: [], superseded: [], stopped: [], changed: 0, problem: null };
  const follower = { truths, course, told, isTold: told !== null };
  const done = new Promise((resolve) => { follower.resolve = resolve; });
  courses.set(call, follower);
  const own = { call, owner: owner(), said: Date.now() };
  const all = truths.map(({ id, text, what }, at) => ({ ...own, at, key: keyOf(id), id, text, what }));
  const keys = new Set(all.map(({ key }) => key));
  refused = refused.filter((one) => !(isOwn(one) && keys.has(one.key)));
  kept = [...kept, ...all];
  supersede();
  tell();
  flush();
  return {
    done,
    stop: () => {
      const left = kept.filter((one) => one.call === call);
      const onItsWay = left.some((one) => sending.has(one)); // It may be stored: sending it again changes nothing.
      settle(left, "stopped");
      tell();
      if (onItsWay) request.abort();
    },
    leave: () => { follower.isTold = false; },
  };
}

/** Send what waits, now. */
export async function flush() {
  if (sending.size > 0 || session.over) return;
  clearTimeout(timer);
  for (let some = next(); some.length > 0; some = next()) {
    sending = new Set(some);
    request = new AbortController();
    try {
      const changed = await transmit(some, request.signal);
      outdate(some);
      taken(some, changed);
    } catch (met) {
      sending = new Set();
      outdate(some);
      if (met.kind === "refused") refuse(some, met);
      else if (met.name !== "AbortError") return later(met);
    }
    tell();
  }
}

/** Drop one of the truths of `useOutbox`, unless it is being sent. */
export function drop(one) {
  if (!sending.has(one)) settle([one], "stopped");
  tell();
}

/** Drop all truths that the user has given and that are not stored yet. */
export function forgetOwn() {
  settle(kept.filter(isOwn), "stopped");
  refused = refused.filter((one) => !isOwn(one));
  tell();
  if (sending.size > 0) request.abort();
}

/** Drop the truths that another user has left in this tab. */
export function forgetOthers() {
  kept = kept.filter(isOwn);
  tell();
}

/** Drop the refused truths. */
export function forgetRefused() {
  refused = refused.filter((one) => !isOwn(one));
  tell();
}

/**
 * The truths that are not stored yet. The component is rendered again when they change.
 *
 * @returns {{own: object[], others: number, problem: ?Error, refused: object[]}} `own`: `{key, id, what}`, the oldest
 *   first. `others`: how many were left by users who were signed in before in this tab. `problem`: why the last attempt
 *   failed.
 */
export function useOutbox() {
  const [, changed] = useState({});
  useEffect(() => {
    const listener = () => changed({});
    listeners.add(listener);
    listener(); // It may have changed since the first rendering.
    return () => listeners.delete(listener);
  }, []);
  const own = kept.filter(isOwn);
  const others = kept.length - own.length;
  return { own, others, problem: own.length > 0 ? problem : null, refused: refused.filter(isOwn) };
}

// --- One request after the other ---

/** Return what the next request sends: truths of one call, whose order does not matter, or a single withdrawal. */
function next() {
  if (session.required && session.user === null) return [];
  const own = kept.filter(isOwn);
  const some = [];
  let characters = 0;
  for (const one of own) {
    if (one.call !== own[0].call || one.said !== own[0].said || some.length === most) break;
    characters += one.text === null ? CHARACTERS_TOGETHER : one.text.length + 1;
    if (some.length > 0 && characters > CHARACTERS_TOGETHER) break;
    some.push(one);
  }
  return some;
}

async function transmit(some, signal) {
  const [{ id, text, owner: as, said }] = some;
  const condition = Date.now() - said > FRESH ? { "If-Unmodified-Since": httpDate(said) } : {};
  if (text === null) {
    await send("DELETE", `/prediction/${id.value}/ground_truth`, { headers: condition, signal, as });
    return 1;
  }
  const headers = { "Content-Type": "application/x-ndjson", ...condition };
  const body = some.map((one) => one.text).join("\n");
  const { changed } = await send("POST", "/ground_truth", { body, headers, signal, as });
  return changed;
}

/** What was sent may be stored since now: whatever supersedes it was said later than that. */
function outdate(some) {
  const sent = new Set(some);
  const keys = new Set(some.map(named));
  kept = kept.map((one) => (!sent.has(one) && keys.has(named(one)) ? { ...one, said: Date.now() } : one));
}

function taken(some, changed) {
  sending = new Set();
  problem = null;
  wait = FIRST_WAIT;
  most = TOGETHER;
  const follower = courses.get(some[0].call);
  if (follower) follower.course.changed += changed;
  settle(some, "stored");
}

/** The API keeps all truths of a request or none: settle those that it refused, so that the others are sent again. */
function refuse(some, met) {
  if (met.status === 413 && some.length > 1) { // Many predictions may have the same inference_id.
    most = some.length >> 1;
    return;
  }
  const wrong = new Map(met.errors.filter(({ line }) => line).map(({ line, detail }) => [some[line - 1], detail]));
  if (wrong.size === 0) for (const one of some) wrong.set(one, met.message);
  supersede(); // Nobody needs to know that a truth was refused which has been replaced since.
  for (const [one, detail] of wrong) settle([one], "refused", detail);
}

function later(met) {
  problem = met;
  timer = setTimeout(flush, met.retryAfter ? met.retryAfter * 1000 : wait);
  wait = Math.min(LONGEST_WAIT, 2 * wait);
  supersede();
  tell();
}

const named = ({ owner: of, key }) => JSON.stringify([of, key]);

/** Of several truths that a user has given for one prediction, keep the last, and any that is being sent. */
function supersede() {
  const last = new Map(kept.map((one) => [named(one), one]));
  settle(kept.filter((one) => !sending.has(one) && last.get(named(one)) !== one), "superseded");
}

/** Take truths out of the queue. `as` is the list of the course that they go to. */
function settle(some, as, message) {
  const settled = new Set(some);
  const waited = kept.filter((one) => settled.has(one)); // Some may have been stopped meanwhile.
  kept = kept.filter((one) => !settled.has(one));
  for (const { call, at, key, id, what, owner: of } of waited) {
    const follower = courses.get(call);
    if (as === "refused" && !follower?.isTold) refused.push({ owner: of, key, id, what, message });
    const truth = follower?.truths[at];
    follower?.course[as].push(as === "refused" ? [truth, message] : truth);
  }
}

// --- Notify followers, and save ---

function tell() {
  store();
  const waiting = new Map([...courses.keys()].map((call) => [call, []]));
  for (const { call, at } of kept) waiting.get(call)?.push(courses.get(call).truths[at]);
  for (const [call, { course, told, resolve }] of [...courses]) {
    Object.assign(course, { waiting: waiting.get(call), problem });
    told?.(course);
    if (course.waiting.length > 0) continue;
    courses.delete(call);
    resolve(course);
  }
  for (const listener of [...listeners]) listener();
  const isUnsaved = kept.some(isOwn);
  (isUnsaved ? addEventListener : removeEventListener)("beforeunload", warn); // The tab may be closed.
}

function warn(event) {
  if (!session.leaving) event.preventDefault();
}

function store() {
  try {
    if (kept.length + refused.length > 0) sessionStorage.setItem(STORED, JSON.stringify({ kept, refused }));
    else sessionStorage.removeItem(STORED);
  } catch { /* No storage, or it is full: they live as long as the page. */ }
}

function restore() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORED));
    kept = stored?.kept ?? [];
    refused = stored?.refused ?? [];
  } catch { /* No storage. */ }
}

restore();
addEventListener("online", flush);
