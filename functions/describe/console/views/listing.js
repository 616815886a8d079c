/** The records that a list shows: loaded page by page, limited in number, and checked for new ones. */

import { useLayoutEffect } from "preact/hooks";

import { inWords } from "../answer.js";
import { get } from "../api.js";
import { shown } from "../format.js";
import { useCallback, useEffect, useRef, useState } from "../html.js";
import { microseconds, timeOf } from "./times.js";

const LIMIT = 50; // Records of a page.
const MOST = 1000; // Records of a list at once: those at the top are let go while the user scrolls on.
const LET_GO = 400;
const EVERY = 10_000; // Milliseconds between two checks for new records.
const OVERLAP = 30_000_000; // Microseconds: a record can become visible later than a newer one.
const WATCHED = 20; // The most unfinished records that are loaded again.
const CHARACTERS = 80; // Of a prediction or a ground truth that are kept.

const FINISHED = new Set(["succeeded", "failed"]);

/**
 * What a list keeps of a record: nothing that grows with the model's output. `said` and `truth` are texts. A
 * `predicted_value` or `ground_truth` that is a list or an object is kept as an empty list.
 */
function summary(record) {
  const { prediction, outputs, metadata, ...kept } = record;
  return {
    ...kept,
    predicted_value: small(record.predicted_value),
    ground_truth: small(record.ground_truth),
    said: record.status === "succeeded" && !record.error ? clipped(inWords(record)) : "",
    truth: record.ground_truth === undefined ? "" : clipped(shown(record.ground_truth)),
  };
}

const small = (value) => value !== null && typeof value === "object" ? [] : value;

const clipped = (text) => text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}…` : text;

/** Load one record as lists have it; null if it is gone. */
async function reread(record, signal) {
  const at = microseconds(record.created_at);
  const page = await get("/predictions", { since: timeOf(at), until: timeOf(at + 1), limit: 100 }, { signal });
  const found = page.predictions.find((one) => one.prediction_id === record.prediction_id);
  return found ? summary(found) : null;
}

// `first`: the number of the first record, counted from where the list began; negative for records that were new.
const EMPTY = { records: [], first: 0, cursor: null, loaded: false, fresh: [], more: false };

let left = null; // What the last list had when the user left it.
let visits = 0;

/** What the list had when the user left it, if they are back at that step of the history. A new visit begins anew. */
const returned = (search) => left && left.search === search && left.visit === history.state?.list ? left : null;

/**
 * The records of a query, in its order.
 *
 * @param {string} search The query, with the API's names.
 * @param {function(): number} columns How many records are in a row: only whole rows are let go.
 * @param {function(): ?Element} anchor The element that must not move when rows are let go.
 * @param {function(): ?string} firstSeen The id of the first record in sight.
 */
export function useRecords(search, { columns, anchor, firstSeen }) {
  const [state, setState] = useState(() => returned(search)?.state ?? EMPTY);
  const [request, setRequest] = useState({ loading: false, problem: null });
  const latest = useRef(state);
  latest.current = state;
  const shownFor = useRef(returned(search) ? search : null);
  const controller = useRef(null);
  const held = useRef(null);

  const load = useCallback(async (fromStart) => {
    if (controller.current && !fromStart) return;
    controller.current?.abort();
    const own = controller.current = new AbortController();
    setRequest({ loading: true, problem: null });
    try {
      const { signal } = own;
      const query = new URLSearchParams(search);
      query.set("limit", LIMIT);
      if (!fromStart) query.set("cursor", latest.current.cursor);
      const newest = fromStart ? newestOf(signal).catch(() => null) : null; // The page is shown all the same.
      const page = await get("/predictions", query, { signal });
      const since = await newest;
      if (own.signal.aborted) return;
      const records = page.predictions.map(summary);
      if (fromStart) {
        shownFor.current = search;
        setState({ ...EMPTY, records, cursor: page.next_cursor, loaded: true, newest: since });
      } else {
        const top = anchor()?.getBoundingClientRect().top;
        setState((before) => appended(before, records, page.next_cursor, columns()));
        held.current = top === undefined ? null : { element: anchor(), top };
      }
      setRequest({ loading: false, problem: null });
    } catch (problem) {
      if (own.signal.aborted) return;
      if (fromStart) setState({ ...EMPTY });
      setRequest({ loading: false, problem });
    } finally {
      if (controller.current === own) controller.current = null;
    }
  }, [search]);

  useLayoutEffect(() => {
    const { element, top } = held.current ?? {};
    held.current = null;
    if (element?.isConnected) scrollBy(0, element.getBoundingClientRect().top - top);
  }, [state.records]);

  useEffect(() => {
    const before = returned(search);
    const visit = before?.visit ?? (visits += 1);
    history.replaceState({ ...history.state, list: visit }, "");
    left = null;
    if (before) { // The browser is about to scroll to where the user was: show what was there before it does.
      refresh(search, latest, setState, firstSeen).catch(() => {}); // What is shown was right when the user left.
    } else {
      load(true);
    }
    return () => {
      controller.current?.abort();
      controller.current = null;
      if (shownFor.current === search) left = { search, visit, state: latest.current };
    };
  }, [search]);

  const change = useCallback((id, changes) => setState((before) => {
    const changed = (record) => record.prediction_id === id ? { ...record, ...changes } : record;
    const removed = (record) => record.prediction_id !== id;
    const each = (records) => changes === null ? records.filter(removed) : records.map(changed);
    return { ...before, records: each(before.records), fresh: each(before.fresh) };
  }), []);

  useNews({ search, latest, setState, change });

  const show = useCallback(() => {
    const { fresh, more } = latest.current;
    if (more || new URLSearchParams(search).get("order") === "confidence") return load(true);
    setState((before) => {
      const records = [...fresh, ...before.records];
      return { ...before, records, first: before.first - fresh.length, fresh: [] };
    });
    return undefined;
  }, [search]);

  return {
    ...state,
    ...request,
    letGo: state.first > 0,
    stale: shownFor.current !== search,
    next: () => load(false),
    again: () => load(!latest.current.loaded || latest.current.cursor === null),
    restart: () => load(true),
    change,
    show,
  };
}

/** Load the newest record of all: whatever comes after it is new. Null while the ledger is empty. */
async function newestOf(signal) {
  const { predictions: [newest] } = await get("/predictions", { limit: 1 }, { signal });
  return newest ? { id: newest.prediction_id, created_at: newest.created_at } : null;
}

/** Load the records in sight again: they may have been judged or deleted since. */
async function refresh(search, latest, setState, firstSeen) {
  const { records } = latest.current;
  const from = Math.max(0, records.findIndex((record) => record.prediction_id === firstSeen()));
  if (!records.length) return;
  const query = new URLSearchParams(search);
  query.set("limit", 2 * LIMIT);
  if (query.get("order") === "confidence") query.set("min_confidence", records[from].confidence);
  else query.set("until", timeOf(microseconds(records[from].created_at) + 1));
  const page = await get("/predictions", query);
  const found = new Map(page.predictions.map((record) => [record.prediction_id, summary(record)]));
  const ends = records.findLastIndex((record) => found.has(record.prediction_id));
  const isGone = (record, index) => index >= from && index <= ends && !found.has(record.prediction_id);
  setState((before) => {
    if (before.records !== records) return before; // It has changed meanwhile.
    const kept = records.filter((record, index) => !isGone(record, index));
    return { ...before, records: kept.map((record) => found.get(record.prediction_id) ?? record) };
  });
}

function appended(before, records, cursor, columns) {
  const known = new Set(before.records.slice(-2 * LIMIT).map((record) => record.prediction_id));
  const all = [...before.records, ...records.filter((record) => !known.has(record.prediction_id))];
  if (all.length <= MOST) return { ...before, records: all, cursor };
  const gone = Math.max(1, Math.floor(LET_GO / columns)) * columns;
  return { ...before, records: all.slice(gone), first: before.first + gone, cursor };
}

/** While the page is visible, check for new records at intervals, and load unfinished ones again. */
function useNews({ search, latest, setState, change }) {
  useEffect(() => {
    let controller = null;
    let timer = null;
    let wait = EVERY;
    const look = async () => {
      if (document.visibilityState !== "visible" || controller || !latest.current.loaded) return;
      controller = new AbortController();
      try {
        await news(search, latest, setState, controller.signal);
        await finish(latest, change, controller.signal);
        wait = EVERY;
      } catch (problem) {
        if (problem.name === "AbortError") return;
        wait = Math.min(6 * EVERY, 2 * wait); // Whatever is wrong, the user's next action shows it.
      } finally {
        controller = null;
      }
    };
    const again = () => {
      timer = setTimeout(async () => { await look(); again(); }, wait);
    };
    again();
    document.addEventListener("visibilitychange", look);
    return () => {
      clearTimeout(timer);
      controller?.abort();
      document.removeEventListener("visibilitychange", look);
    };
  }, [search]);
}

async function news(search, latest, setState, signal) {
  const query = new URLSearchParams(search);
  const until = query.get("until");
  if (until && Date.parse(until) < Date.now()) return;
  const newest = await newestOf(signal);
  const before = latest.current.newest ?? null;
  if (!newest || newest.id === before?.id) return;
  const sure = query.get("order") === "confidence";
  query.delete("order");
  query.set("limit", LIMIT);
  if (before) {
    const from = microseconds(before.created_at) - (sure ? 0 : OVERLAP);
    if (from > (microseconds(query.get("since") ?? "1970-01-01") || 0)) query.set("since", timeOf(from));
  }
  const page = await get("/predictions", query, { signal });
  if (signal.aborted) return;
  setState((state) => {
    const known = new Set([...state.records, ...state.fresh].map((record) => record.prediction_id));
    const last = sure ? before?.id : state.records.at(-1)?.prediction_id;
    const found = page.predictions.filter((record) => {
      const id = record.prediction_id;
      return !known.has(id) && (last === undefined || id > last);
    });
    const fresh = [...found.map(summary), ...state.fresh];
    const more = state.more || page.next_cursor !== null || fresh.length > LIMIT;
    return { ...state, newest, fresh: fresh.slice(0, LIMIT), more };
  });
}

async function finish(latest, change, signal) {
  const unfinished = latest.current.records.filter((record) => !FINISHED.has(record.status)).slice(0, WATCHED);
  for (const record of unfinished) {
    const now = await reread(record, signal);
    if (now === null || now.status !== record.status) change(record.prediction_id, now);
  }
}
