/** The records before and after one in a list, found by the filters of the list, which a link to a record carries. */

import { pages } from "./api.js";

/** What `GET /predictions` filters and sorts by. */
const FILTERS = [
  "user_id", "model", "version", "label", "min_confidence", "max_confidence", "since", "until", "inference_id",
  "has_ground_truth", "correct", "ground_truth", "status", "order",
];

const AHEAD = 5; // Records: the next one is nearly always among them, and a record may be large.
const PAGE = 100;
const MOST_PAGES = 50;
const FIRST_MILLISECONDS = 1000;
const FIRST_CONFIDENCE = 1e-9; // Near 1 there are many.
const GROWTH = 8;

/** The filters in a URL's query, without what else is in it. */
export function filtersOf(query) {
  return Object.fromEntries(FILTERS.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
}

const bySurety = (filters) => filters.order === "confidence";

/** Whether a record can be in the list at all: a list that is sorted by confidence has none without one. */
const isSortable = (record, filters) => !bySurety(filters) || record.confidence !== undefined;

/**
 * Return the record after one in a list, or null. The record itself need not be in the list any more: a user who judges
 * the records without a ground truth takes one after the other out of the list.
 *
 * @param {object} record
 * @param {object} filters As returned by `filtersOf`.
 */
export async function following(record, filters, { signal } = {}) {
  if (!isSortable(record, filters)) return null;
  const isAfter = (one) => comesBefore(record, one, filters);
  if (!bySurety(filters)) {
    return firstOf({ ...filters, until: earlier(filters.until, timeOf(record) + 1), limit: AHEAD }, isAfter, signal);
  }
  // Records with the same confidence are in the order of their time. There may be too many to go through.
  const asSure = { ...filters, ...between(filters, record.confidence, record.confidence), limit: AHEAD };
  const since = later(filters.since, timeOf(record));
  return await firstOf({ ...asSure, since }, isAfter, signal)
    ?? firstOf({ ...filters, ...between(filters, beside(record.confidence, 1n), 1), limit: AHEAD }, isAfter, signal);
}

/** Return the record before one in a list, or null. It searches near the record first, then farther away. */
export async function preceding(record, filters, { signal } = {}) {
  if (!isSortable(record, filters)) return null;
  const isBefore = (one) => comesBefore(one, record, filters);
  const look = async (windows) => {
    for (const window of windows) {
      const found = await lastOf({ ...filters, ...window, limit: PAGE }, isBefore, signal);
      if (found) return found;
    }
    return null;
  };
  if (!bySurety(filters)) return look(after(timeOf(record), filters));
  const asSure = between(filters, record.confidence, record.confidence);
  return await look(before(timeOf(record) + 1, filters, asSure)) ?? look(below(record.confidence, filters));
}

/** Whether one record stands before another in a list. Ids grow with time. */
function comesBefore(one, other, filters) {
  if (!bySurety(filters)) return one.prediction_id > other.prediction_id;
  return one.confidence < other.confidence
    || (one.confidence === other.confidence && one.prediction_id < other.prediction_id);
}

// --- Bounds: those of the list, and narrower ones ---

const timeOf = (record) => Date.parse(record.created_at); // Milliseconds, rounded down.

const written = (time) => new Date(time).toISOString();
const earlier = (text, time) => (text && Date.parse(text) < time ? text : written(time));
const later = (text, time) => (text && Date.parse(text) > time ? text : written(time));

function between(filters, least, most) {
  return {
    min_confidence: Math.max(Number(filters.min_confidence ?? 0), least),
    max_confidence: Math.min(Number(filters.max_confidence ?? 1), most),
  };
}

/** The adjacent number: the least that is greater (by 1n), or the greatest that is less (by -1n). */
function beside(confidence, by) {
  const bits = new BigInt64Array(1);
  const number = new Float64Array(bits.buffer);
  number[0] = confidence;
  bits[0] += by;
  return number[0];
}

/** Spans of time after a time, each where the one before ends. */
function* after(start, filters) {
  const end = filters.until ? Date.parse(filters.until) : Date.now();
  for (let from = start, span = FIRST_MILLISECONDS; ; span *= GROWTH) {
    const last = start + span >= end;
    yield { since: later(filters.since, from), until: last ? filters.until : written(start + span) };
    if (last) return;
    from = start + span;
  }
}

/** Spans of time before a time, each where the one before begins. */
function* before(end, filters, also) {
  const start = filters.since ? Date.parse(filters.since) : 0;
  for (let to = end, span = FIRST_MILLISECONDS; ; span *= GROWTH) {
    const last = end - span <= start;
    const since = last ? filters.since : written(end - span);
    yield { ...also, since, until: earlier(filters.until, to) };
    if (last) return;
    to = end - span;
  }
}

/** Confidences below one, in ranges that grow. */
function* below(confidence, filters) {
  const least = Number(filters.min_confidence ?? 0);
  const most = beside(confidence, -1n); // NaN below 0: there is nothing.
  for (let span = FIRST_CONFIDENCE; most >= least; span *= GROWTH) {
    const from = Math.max(least, confidence - span);
    yield between(filters, from, most);
    if (from <= least) return;
  }
}

// --- Pages ---

async function firstOf(asked, wanted, signal) {
  if (asked.min_confidence > asked.max_confidence) return null;
  let left = MOST_PAGES;
  for await (const { predictions } of pages("/predictions", asked, { signal })) {
    const found = predictions.find(wanted);
    if (found) return found;
    if (--left === 0) throw tooMany();
  }
  return null;
}

async function lastOf(asked, wanted, signal) {
  if (asked.min_confidence > asked.max_confidence) return null;
  let last = null, left = MOST_PAGES;
  for await (const { predictions } of pages("/predictions", asked, { signal })) {
    const end = predictions.findIndex((one) => !wanted(one));
    last = (end === -1 ? predictions.at(-1) : predictions[end - 1]) ?? last;
    if (end !== -1) break;
    if (--left === 0) throw tooMany();
  }
  return last;
}

const tooMany = () => new Error("Too many records are as near in the list as that one: go back to the list.");
