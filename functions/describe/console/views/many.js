/** Do something with several records: label or delete them. Whatever did not work is told, one by one. */

import { html, useEffect, useRef, useState } from "../html.js";
import { count } from "../format.js";
import { href } from "../route.js";
import { Failed } from "../states.js";
import { labelsFor, TruthChoice } from "../truth.js";
import { useServed } from "../served.js";
import { erase, judge, withdraw } from "./acts.js";
import { forget } from "./preview.js";

const TOLD = 20; // Records that are named of those that failed.
const UNJUDGED = { ground_truth: undefined, truth: "", correct: undefined };

/** What a record is called where it is one of several. */
export const nameOf = (record) => `${record.said || record.status}, ${record.prediction_id.slice(-6)}`;

/**
 * What can be done with the records that are selected. It is shown as long as there are some, or something to tell.
 *
 * @param {{selected: Map, select: function(Map): void, change: function(string, ?object): void}} props
 *   `change` puts new members into a record of the list, or takes it away (null). `listed`: the ids of the list.
 */
export function Many({ selected, select, change, listed }) {
  const served = useServed().value;
  const [work, setWork] = useState(null); // What is being done, or was done last.
  const [asking, setAsking] = useState(false);
  const controller = useRef(null);
  const section = useRef(null);
  useEffect(() => () => controller.current?.abort(), []);
  useEffect(() => { if (work?.running === false) section.current?.focus(); }, [work]); // What had it is gone.
  const records = [...selected.values()];

  const begin = async (verb, things, act, apply) => {
    const own = controller.current = new AbortController();
    const of = things.length;
    const told = ({ done, failed }) => setWork({ verb, of, at: done.length + failed.length, running: true });
    told({ done: [], failed: [] });
    const outcome = await act(things, own.signal, told);
    apply(outcome);
    return outcome;
  };

  const label = async (pairs, { undoing = false } = {}) => {
    const before = pairs.map(([record]) => record);
    const words = undoing ? "changed back" : "labelled";
    const { done, failed, left, problem } = await begin(words, pairs, judge, ({ done }) => {
      for (const [record, body] of done) change(record.prediction_id, judged(record, body));
    });
    const rest = [...failed.map(([record]) => record), ...left.map(([record]) => record)];
    select(new Map(rest.map((record) => [record.prediction_id, record])));
    const labelled = before.filter((one) => done.some(([two]) => two === one));
    const undo = !undoing && labelled.length && labelled.every(isKnown) ? () => changeBack(labelled) : null;
    setWork({ verb: words, done: done.length, failed, left: left.length, problem, undo, running: false,
      again: left.length ? () => label(left, { undoing }) : null });
  };

  const changeBack = async (before) => {
    const judgedBefore = before.filter((record) => record.ground_truth !== undefined);
    const unjudged = before.filter((record) => record.ground_truth === undefined);
    const { failed, left, problem } = await begin("changed back", unjudged, withdraw, ({ done }) => {
      for (const record of done) change(record.prediction_id, UNJUDGED);
    });
    if (failed.length || left.length) {
      const done = unjudged.length - failed.length - left.length;
      const again = left.length ? () => changeBack([...left, ...judgedBefore]) : null;
      setWork({ verb: "changed back", done, failed, left: left.length, problem, again, running: false });
    } else if (judgedBefore.length) {
      await label(judgedBefore.map((record) => [record, bodyOf(record)]), { undoing: true });
    } else {
      setWork({ verb: "changed back", done: unjudged.length, failed, left: 0, problem: null, running: false });
    }
  };

  const remove = async (things) => {
    setAsking(false);
    const { done, failed, left, problem } = await begin("deleted", things, erase, ({ done }) => {
      for (const record of done) {
        forget(record.prediction_id);
        change(record.prediction_id, null);
      }
    });
    const rest = [...failed.map(([record]) => record), ...left];
    select(new Map(rest.map((record) => [record.prediction_id, record])));
    setWork({ verb: "deleted", done: done.length, failed, left: left.length, problem, running: false,
      again: left.length ? () => remove(left) : null });
  };

  if (!records.length && !work) return null;
  const busy = work?.running === true;
  const unlisted = records.filter((record) => !listed.has(record.prediction_id)).length;
  return html`
    <section class="many" ref=${section} tabindex="-1" aria-label="Selected records">
      ${records.length > 0 && html`
        <p>
          <strong role="status">${count(records.length)} selected</strong>
          ${unlisted > 0 && html`
            ${" "}<span class="muted">(${count(unlisted)} of them not in the list any more)</span>`}
          ${" "}<button type="button" disabled=${busy} onClick=${() => select(new Map())}>Select none</button>
        </p>`}
      ${records.length > 0 && !busy && html`
        <div class="label-many" role="group" aria-label="Label those selected">
          <p class="muted">The ground truth of ${records.length === 1 ? "this record" : "all of them"}:</p>
          <${TruthChoice} record=${common(records, served)} served=${served}
            choose=${(body) => label(records.map((record) => [record, body]))} />
        </div>
        <p class="buttons"><button type="button" onClick=${() => setAsking(true)}>Delete …</button></p>`}
      ${asking && html`
        <${Confirm} number=${records.length} yes=${() => remove(records)} no=${() => setAsking(false)} />`}
      ${busy && html`<${Progress} work=${work} stop=${() => controller.current?.abort()} />`}
      ${work && !busy && html`<${Outcome} work=${work} close=${() => setWork(null)} />`}
    </section>`;
}

/** One record that stands for all: the control is the one that suits each of them. */
function common(records, served) {
  const [first] = records;
  const value = records.every((record) => record.ground_truth === first.ground_truth) ? first.ground_truth : undefined;
  const sameLabels = records.every((record) => labelsFor(record, served));
  const model = sameLabels || records.length === 1 ? first.model : undefined; // Else the label is typed.
  return { ...first, model, ground_truth: Array.isArray(value) ? undefined : value };
}

/** The members that a ground truth changes. */
function judged(record, { label, value }) {
  const truth = label ?? value;
  const isText = truth === null || typeof truth !== "object";
  const correct = label === undefined || record.label === undefined ? undefined : record.label === label;
  return { ground_truth: isText ? truth : [], truth: isText ? String(truth) : JSON.stringify(truth), correct };
}

/** Whether the list has the whole of a record's ground truth: only then can it be given again. */
function isKnown({ ground_truth: truth, label }) {
  return truth === undefined || typeof truth === "number" || label !== undefined;
}

function bodyOf(record) {
  return record.label !== undefined ? { label: record.ground_truth } : { value: record.ground_truth };
}

function Confirm({ number, yes, no }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  const what = number === 1 ? "1 record" : `${count(number)} records`;
  return html`
    <dialog ref=${dialog} aria-labelledby="confirm-title" onClose=${no}>
      <h2 id="confirm-title">Delete ${what}?</h2>
      <p>Each goes for good: the record, its ground truth, and its input unless another record has the same one.</p>
      <p class="buttons">
        <button type="button" autofocus onClick=${no}>Keep</button>
        <button type="button" class="danger" onClick=${yes}>Delete ${what}</button>
      </p>
    </dialog>`;
}

function Progress({ work, stop }) {
  return html`
    <p role="status">
      <progress max=${work.of} value=${work.at} aria-label="Progress"></progress>
      ${" "}${count(work.at)} of ${count(work.of)} ${work.verb}${" "}
      <button type="button" onClick=${stop}>Stop</button>
    </p>`;
}

function Outcome({ work, close }) {
  const { verb, done, failed, left, problem, undo, again } = work;
  const stopped = !problem || problem.name === "AbortError";
  return html`
    <div class="outcome">
      <p role="status">
        ${count(done)} ${verb}${failed.length > 0 && `, ${count(failed.length)} not`}
        ${left > 0 && `, ${count(left)} still to do`}.
      </p>
      ${failed.length > 0 && html`
        <ul aria-label="What did not work">
          ${failed.slice(0, TOLD).map(([record, why]) => html`
            <li key=${record.prediction_id}>
              <a href=${href("record", [record.prediction_id])}>${nameOf(record)}</a>: ${why}
            </li>`)}
          ${failed.length > TOLD && html`<li>and ${count(failed.length - TOLD)} more; all are selected</li>`}
        </ul>`}
      ${!stopped && html`<${Failed} problem=${problem} again=${again} />`}
      <p class="buttons">
        ${again && stopped && html`<button type="button" onClick=${again}>Go on</button>`}
        ${undo && html`<button type="button" onClick=${undo}>Undo</button>`}
        <button type="button" onClick=${close}>Close</button>
      </p>
    </div>`;
}
