/**
 * Ground truths on their way. What one has said is not lost if the session ends, the connection breaks or the page is
 * loaded again: it is kept in the tab's own storage, and sent again until the API has taken or refused it. To send a
 * ground truth twice is to send it once.
 */

import { useEffect, useState } from "../html.js";
import { session, useSession } from "../session.js";
import { setTruth, withdrawTruth } from "../truth.js";

const STORED = "onnx-ledger.outbox";
const FIRST_WAIT = 2_000; // Milliseconds.
const LONGEST_WAIT = 30_000;

const listeners = new Set();
const owner = () => session.user?.name ?? null;

let kept = []; // {id, what, body, owner}: the oldest first. A body of null withdraws.
let refused = []; // {id, what, message}
let sending = null;
let problem = null;
let timer = null;
let wait = FIRST_WAIT;

function restore() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
    if (Array.isArray(stored)) kept = stored;
  } catch { /* No storage, or somebody else's text in it. */ }
}

function store() {
  try {
    if (kept.length) sessionStorage.setItem(STORED, JSON.stringify(kept));
    else sessionStorage.removeItem(STORED);
  } catch { /* Then it is kept as long as the page. */ }
}

function tell() {
  store();
  for (const listener of [...listeners]) listener({});
}

const warn = (event) => { event.preventDefault(); };

/**
 * Say what a prediction should have been, or withdraw it.
 *
 * @param {string} id
 * @param {?object} body As for `setTruth`; null withdraws.
 * @param {string} what What it is, in words, for when it is refused.
 */
export function post(id, body, what) {
  kept = kept.filter((one) => one.id !== id || one === sending); // What was said last counts.
  kept.push({ id, body, what, owner: owner() });
  tell();
  flush();
}

/** Take back what was not sent yet. Returns whether there is nothing to withdraw any more. */
export function recall(id) {
  const before = kept.length;
  kept = kept.filter((one) => one.id !== id || one === sending);
  if (kept.length === before) return false;
  tell();
  return !kept.some((one) => one.id === id);
}

/** Forget what was refused. */
export function forgetRefused() {
  refused = [];
  tell();
}

/** Forget what somebody else has left in this tab. */
export function forgetOthers() {
  kept = kept.filter((one) => one.owner === owner());
  tell();
}

/** Send what waits, now. */
export async function flush() {
  if (sending) return;
  clearTimeout(timer);
  timer = null;
  addEventListener("beforeunload", warn);
  for (let next = first(); next; next = first()) {
    sending = next;
    try {
      await (next.body === null ? withdrawTruth(next.id) : setTruth(next.id, next.body));
      taken(next);
    } catch (met) {
      if (met.kind !== "refused") {
        later(met);
        return;
      }
      refused.push({ id: next.id, what: next.what, message: met.message });
      taken(next);
    }
  }
  removeEventListener("beforeunload", warn);
}

const first = () => kept.find((one) => one.owner === owner());

function taken(one) {
  sending = null;
  problem = null;
  wait = FIRST_WAIT;
  kept = kept.filter((other) => other !== one);
  tell();
}

function later(met) {
  sending = null;
  problem = met;
  timer = setTimeout(flush, met.retryAfter ? met.retryAfter * 1000 : wait);
  wait = Math.min(LONGEST_WAIT, 2 * wait);
  tell();
}

/**
 * What waits to be sent.
 *
 * @returns {{waiting: number, others: number, problem: ?Problem, refused: {id, what, message}[]}} `others`: how many
 *   somebody else has left, who was signed in before in this tab. `problem`: why the last attempt failed.
 */
export function useOutbox() {
  const [, update] = useState({});
  const { over, user } = useSession();
  useEffect(() => {
    listeners.add(update);
    return () => listeners.delete(update);
  }, []);
  useEffect(() => { flush(); }, [over, user]); // Once one is signed in again, it goes on by itself.
  const own = kept.filter((one) => one.owner === owner()).length;
  return { waiting: own, others: kept.length - own, problem: own ? problem : null, refused };
}

restore();
addEventListener("online", flush);
