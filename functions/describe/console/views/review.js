/** Judge one record after the other, the least sure first or a random sample, with the keyboard alone. */

import { Answer, inWords } from "../answer.js";
import { count, moment, number, percent, shown } from "../format.js";
import { Fragment, html, useEffect, useRef, useState } from "../html.js";
import { isOfServed, StoredInput } from "../input.js";
import { KeysButton, useKeys } from "../keys.js";
import { post, truthOf, useOutbox } from "../outbox.js";
import { href, setQuery } from "../route.js";
import { useServed } from "../served.js";
import { session as signedIn, useSession } from "../session.js";
import { Empty, Failed, Loading } from "../states.js";
import { judgedBy, TruthChoice } from "../truth.js";
import { Chosen } from "./filters.js";
import { LeastSure, Sample, wilson } from "./sample.js";

const OWN = ["order", "goal", "show", "limit", "cursor"];
const GOALS = [20, 50, 100, 200, 400];
const GOAL = 50;
const AHEAD = 6; // Records that are loaded before the user gets to them,
const LOADED = 3; // and how many of these with their inputs.
const PAUSE = 60_000; // Milliseconds: a user who takes longer for a record was away.
const MOST = 5000; // Records that are remembered as reviewed or skipped.
const STORED = "onnx-ledger.review";

/** The filters of the review: those of the URL, or else records that are predicted and have no ground truth. */
function searchOf(query, order) {
  const search = new URLSearchParams([...query].filter(([name, value]) => value !== "" && !OWN.includes(name)));
  const isJudged = search.has("correct") || search.has("ground_truth");
  if (!search.has("has_ground_truth") && !isJudged) search.set("has_ground_truth", "false");
  if (order === "random" && !search.has("status")) search.set("status", "succeeded"); // Others have no confidence.
  return search;
}

/** A queue of records to judge. */
export default function Review({ query }) {
  const order = query.get("order") === "random" ? "random" : "confidence";
  const search = searchOf(query, order);
  const goal = Math.max(1, Math.floor(Number(query.get("goal"))) || GOAL);
  const key = `${signedIn.user?.name ?? ""} ${order}?${search}`;
  const filters = [...query].filter(([name]) => !OWN.includes(name));
  return html`
    <h1>Review</h1>
    <div class="bar-of-list">
      <div class="choices" role="group" aria-label="What to review">
        <button type="button" aria-pressed=${order === "confidence" ? "true" : "false"}
          onClick=${() => setQuery({ order: null })}>Least sure first</button>
        <button type="button" aria-pressed=${order === "random" ? "true" : "false"}
          onClick=${() => setQuery({ order: "random" })}>Random sample</button>
      </div>
      <label>How many${" "}
        <select value=${goal} onChange=${(event) => setQuery({ goal: event.target.value })}>
          ${[...new Set([...GOALS, goal])].sort((one, two) => one - two).map((each) => html`
            <option key=${each} value=${each}>${count(each)}</option>`)}
        </select>
      </label>
      <a href=${href("records", [], Object.fromEntries(filters))}>Choose which records</a>
      <${KeysButton} />
    </div>
    <${Chosen} query=${query} except=${OWN} />
    <${Queue} key=${key} name=${key} search=${search.toString()} order=${order} goal=${goal} />`;
}

// --- What was reviewed ---

const NOTHING = { reviewed: [], skipped: [], passed: [] }; // `passed`: reviewed before the count began anew.

function remembered(name) {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
    if (stored?.name === name && Object.keys(NOTHING).every((list) => Array.isArray(stored[list]))) return stored;
  } catch { /* No storage, or not ours. */ }
  return { name, ...NOTHING };
}

function remember(session) {
  try {
    const lists = Object.keys(NOTHING).map((list) => [list, session[list].slice(-MOST)]);
    sessionStorage.setItem(STORED, JSON.stringify({ ...session, ...Object.fromEntries(lists) }));
  } catch { /* Then it is known as long as the page. */ }
}

/** The records to come: `{queue, problem, done, span, next, back, again}`. */
function useQueue(search, order, passed) {
  const [, update] = useState({});
  const state = useRef(null);
  state.current ??= {
    source: order === "random" ? new Sample(search) : new LeastSure(search),
    queue: [], problem: null, loading: false, controller: new AbortController(),
  };
  const here = state.current;
  const fill = async () => {
    if (here.loading) return;
    here.loading = true;
    here.problem = null;
    update({});
    const { signal } = here.controller;
    try {
      while (here.queue.length < AHEAD && !here.source.done) {
        const found = await here.source.more(signal);
        if (signal.aborted) return;
        const known = new Set([...passed(), ...here.queue.map((record) => record.prediction_id)]);
        here.queue.push(...found.filter((record) => !known.has(record.prediction_id)));
        update({});
      }
    } catch (problem) {
      if (signal.aborted) return;
      here.problem = problem;
    }
    here.loading = false;
    update({});
  };
  useEffect(() => {
    fill();
    return () => here.controller.abort();
  }, []);
  return {
    queue: here.queue,
    problem: here.problem,
    loading: here.loading,
    done: here.source.done,
    span: here.source.span ?? null,
    next: () => {
      here.queue.shift();
      update({});
      fill();
    },
    back: (record) => {
      here.queue.unshift(record);
      update({});
    },
    again: fill,
  };
}

function Queue({ name, search, order, goal }) {
  const served = useServed().value;
  const { over } = useSession();
  const [session, setSession] = useState(() => remembered(name));
  const latest = useRef(session);
  const change = (after) => {
    latest.current = { ...latest.current, ...after };
    remember(latest.current);
    setSession(latest.current);
  };
  const passed = () => {
    const { reviewed, skipped, passed: before } = latest.current;
    return [...reviewed.map((one) => one.id), ...skipped, ...before];
  };
  const records = useQueue(search, order, passed);
  const undone = useRef([]); // Records whose judgement can be taken back, the last at the end.
  const heading = useRef(null);
  const { queue, problem } = records;
  const [record] = queue;
  useEffect(() => { if (!over && problem) records.again(); }, [over]); // The user has signed in again.
  useEffect(() => { // A user who has just chosen what to review goes on by keys: Enter must not press the button again.
    if (record && document.activeElement?.closest(".choices")) heading.current?.focus({ preventScroll: true });
  }, [Boolean(record)]);
  useEffect(() => {
    addEventListener("online", records.again);
    return () => removeEventListener("online", records.again);
  }, []);
  const isFull = session.reviewed.length >= goal;

  const onward = () => requestAnimationFrame(() => heading.current?.focus({ preventScroll: true }));

  const say = (body) => {
    const [judged] = queue; // Not `record`: a second key may come before the next rendering.
    if (!judged || latest.current.reviewed.length >= goal) return;
    const words = `predicted ${inWords(judged)}, truth ${shown(body.label ?? body.value)}`;
    post([truthOf(judged.prediction_id, body, words)]);
    const right = judgedBy(judged, served) === "label" && body.label !== undefined ? body.label === judged.label : null;
    undone.current.push(judged);
    const entry = { id: judged.prediction_id, right, at: Date.now() };
    change({ reviewed: [...latest.current.reviewed, entry] });
    records.next();
    onward();
  };

  const skip = () => {
    const [skipped] = queue;
    if (!skipped) return;
    undone.current.push(skipped);
    change({ skipped: [...latest.current.skipped, skipped.prediction_id] });
    records.next();
    onward();
  };

  const undo = () => {
    const last = undone.current.pop();
    if (!last) return;
    const id = last.prediction_id;
    const { reviewed, skipped } = latest.current;
    if (reviewed.some((one) => one.id === id)) {
      post([truthOf(id, bodyBefore(last), `predicted ${inWords(last)}, truth taken back`)]);
    }
    change({ reviewed: reviewed.filter((one) => one.id !== id), skipped: skipped.filter((one) => one !== id) });
    records.back(last);
    onward();
  };

  const restart = () => {
    undone.current = [];
    change({ ...NOTHING, passed: passed() });
  };

  const correct = record && bodyOf(record);
  useKeys({
    Enter: correct && !isFull ? ["the prediction is correct", () => say(bodyOf(queue[0]))] : null,
    s: record && !isFull ? ["skip this one", skip] : null,
    u: undone.current.length ? ["take the last one back", undo] : null,
  });
  const buttons = html`
    <p class="buttons">
      ${record && !isFull && html`
        <button type="button" onClick=${skip}>Skip <kbd aria-hidden="true">s</kbd></button>`}
      <button type="button" disabled=${!undone.current.length} onClick=${undo}>
        Undo <kbd aria-hidden="true">u</kbd></button>
    </p>`;

  return html`
    <${Progress} ...${{ session, order, goal }} span=${records.span} restart=${restart} />
    ${isFull && html`<${Full} heading=${heading} session=${session} goal=${goal} />`}
    ${!isFull && record && html`
      <section class="review" aria-label="Record to review">
        <div class="review-input">
          ${queue.slice(0, LOADED).map((one, index) => html`
            <div key=${one.prediction_id} hidden=${index > 0}>
              <${StoredInput} record=${one} zoom=${index === 0} />
            </div>`)}
        </div>
        <div class="review-answer">
          <${Predicted} record=${record} served=${served} heading=${heading} />
          ${correct && html`
            <p class="buttons"><button type="button" class="main" onClick=${() => say(correct)}>
              Correct <kbd aria-hidden="true">Enter</kbd></button></p>`}
          <h3>${correct ? "Or it is" : "It is"}</h3>
          <${TruthChoice} key=${record.prediction_id} record=${record} served=${served} choose=${say} />
          ${buttons}
        </div>
      </section>`}
    ${(isFull || !record) && buttons}
    ${!isFull && !record && records.loading && html`<${Loading} what="records to review" />`}
    ${problem && !record && html`<${Failed} problem=${problem} again=${records.again} />`}
    ${!isFull && !record && records.done && !records.loading && !problem && html`
      <${Nothing} order=${order} session=${session} heading=${heading} />`}`;
}

/** The body that confirms a prediction; null if it has no single value. */
function bodyOf(record) {
  if (record.label !== undefined) return { label: record.label };
  return record.predicted_value === undefined ? null : { value: record.predicted_value };
}

/** The body that restores the ground truth that a record had; null if it had none. */
function bodyBefore({ ground_truth: truth, label }) {
  if (truth === undefined) return null;
  return label === undefined ? { value: truth } : { label: truth };
}

function Predicted({ record, served, heading }) {
  const { confidence, model } = record;
  return html`
    <h2 class="unseen" tabindex="-1" ref=${heading}>
      Predicted ${inWords(record)}${confidence !== undefined ? `, ${percent(confidence)}` : ""}
    </h2>
    <${Answer} record=${record} served=${served} />
    <p class="muted">
      ${moment(record.created_at)}${model && !isOfServed(record, served) ? `, by ${model.name} ${model.version}` : ""}
      ${record.ground_truth !== undefined && `, ground truth so far ${shown(record.ground_truth)}`}
      ${" "}<a href=${href("record", [record.prediction_id])}>Open</a>
    </p>`;
}

function Progress({ session, order, goal, span, restart }) {
  const { refused } = useOutbox();
  const lost = new Set(refused.map((one) => one.id.value));
  const reviewed = session.reviewed.filter((one) => !lost.has(one.id));
  const told = reviewed.filter((one) => one.right !== null);
  const right = told.filter((one) => one.right).length;
  const interval = order === "random" ? wilson(right, told.length) : null;
  const speed = perMinute(reviewed);
  return html`
    <div class="review-progress">
      <p>
        <progress max=${goal} value=${Math.min(goal, reviewed.length)} aria-label="Reviewed"></progress>${" "}
        <span role="status">${count(reviewed.length)} of ${count(goal)} reviewed</span>
        ${session.skipped.length > 0 && `, ${count(session.skipped.length)} skipped`}
        ${speed !== null && `, ${number(speed)} a minute`}
        ${reviewed.length > 0 && html`${" "}<button type="button" onClick=${restart}>Count from 0</button>`}
      </p>
      ${told.length > 0 && html`
        <p>Accuracy so far <strong>${percent(right / told.length)}</strong>
          ${" "}(${count(right)} of ${count(told.length)} right)
          ${interval && html`${", "}95 % interval ${percent(interval[0])} to ${percent(interval[1])}`}
        </p>`}
      <p class="muted"><${Meaning} order=${order} span=${span} skipped=${session.skipped.length} /></p>
    </div>`;
}

function Meaning({ order, span, skipped }) {
  if (order !== "random") {
    return html`<${Fragment}>The least sure are no sample: the model is right more often than here.<//>`;
  }
  const of = span
    ? ` of the records made from ${moment(new Date(span.since / 1000))} to ${moment(new Date(span.until / 1000))}`
    : "";
  return html`<${Fragment}>A random sample${of}: each that the filters let through has the same chance.
    ${skipped > 0 && " What is skipped does not count: if that is what is hard, the accuracy is too good."}<//>`;
}

/** How many records the user reviews in a minute, without pauses; null until that is known. */
function perMinute(reviewed) {
  const all = reviewed.slice(1).map((one, index) => one.at - reviewed[index].at);
  const gaps = all.filter((gap) => gap > 0 && gap < PAUSE);
  if (gaps.length < 3) return null;
  return Math.round(60_000 * gaps.length / gaps.reduce((sum, gap) => sum + gap, 0));
}

function Full({ heading, session, goal }) {
  return html`
    <section class="card">
      <h2 tabindex="-1" ref=${heading}>${count(session.reviewed.length)} reviewed</h2>
      <p>That is as many as you wanted.</p>
      <p class="buttons"><button type="button" class="main" onClick=${() => setQuery({ goal: goal + GOAL })}>
        ${count(GOAL)} more</button></p>
    </section>`;
}

function Nothing({ order, session, heading }) {
  const some = session.reviewed.length + session.skipped.length > 0;
  if (some) {
    return html`
      <section class="card">
        <h2 tabindex="-1" ref=${heading}>That was all</h2>
        <p>No more records to review${session.skipped.length > 0 && " but those that you skipped"}.</p>
      </section>`;
  }
  return html`
    <${Empty}>Nothing to review: ${order === "random"
      ? "no record without a ground truth has all of the filters."
      : "no record without a ground truth has a confidence and all of the filters. Numbers have none."}
      ${order !== "random" && html`${" "}
        <button type="button" onClick=${() => setQuery({ order: "random" })}>Take a random sample</button>`}
    <//>`;
}
