/** Label or delete several records at once. Each that fails is listed with the reason. */

import { html, useEffect, useRef, useState } from "../html.js";
import { count, shown } from "../format.js";
import { post, truthOf } from "../outbox.js";
import { href } from "../route.js";
import { Failed } from "../states.js";
import { labelsFor, TruthChoice } from "../truth.js";
import { useServed } from "../served.js";
import { erase } from "./acts.js";
import { discard } from "./preview.js";

const TOLD = 20; // How many of the records that failed are listed.
const UNJUDGED = { ground_truth: undefined, truth: "", correct: undefined };

/** What a record is called where it is one of several. */
const nameOf = (record) => `${record.said || record.status}, ${record.prediction_id.slice(-6)}`;

/**
 * What can be done with the selected records. It is shown while some are selected, or while there is a result to show.
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
  const posting = useRef(null); // The truths that were given last.
  useEffect(() => () => {
    controller.current?.abort();
    posting.current?.leave();
  }, []);
  useEffect(() => { // The element that had the focus is gone.
    if (work?.running === false) section.current?.focus();
  }, [work?.running]);
  const records = [...selected.values()];

  const label = (pairs, { undoing = false } = {}) => {
    const verb = undoing ? "changed back" : "labelled";
    let told = 0; // How many of the stored truths the list shows already.
    let selection = "old";
    const following = (course) => {
      for (const { record, body } of course.stored.slice(told)) change(record.prediction_id, judged(record, body));
      told = course.stored.length;
      if (posting.current !== own) return; // Something else has been done since.
      const { of, stored, waiting, problem, stopped } = course;
      if (waiting.length && !problem) {
        setWork({ verb, of, at: of - waiting.length, running: true });
        return;
      }
      const failed = course.refused.map(([{ record }, why]) => [record, why]);
      if (selection === "old") {
        const rest = [...failed.map(([record]) => record), ...stopped.map(({ record }) => record)];
        select(new Map(rest.map((record) => [record.prediction_id, record])));
        selection = "new"; // The user may go on selecting while some of them wait.
      }
      const labelled = stored.map(({ record }) => record);
      const canUndo = !undoing && !waiting.length && labelled.length > 0 && labelled.every(isKnown);
      const undo = () => label(labelled.map((record) => [record, bodyOf(record)]), { undoing: true });
      const again = () => label(stopped.map(({ record, body }) => [record, body]), { undoing });
      setWork({ verb, done: labelled.length, failed, left: stopped.length, waiting: waiting.length, problem: null,
        undo: canUndo ? undo : null, again: stopped.length ? again : null, running: false });
    };
    const said = pairs.map(([record, body]) => {
      const words = body === null ? "truth taken back" : `truth ${shown(body.label ?? body.value)}`;
      return { ...truthOf(record.prediction_id, body, `${nameOf(record)}: ${words}`), record, body };
    });
    posting.current?.leave();
    const own = posting.current = { leave: () => {} };
    setWork({ verb, of: pairs.length, at: 0, running: true });
    const { stop, leave } = post(said, following);
    Object.assign(own, { stop, leave });
  };

  const remove = async (things) => {
    setAsking(false);
    posting.current?.leave();
    posting.current = null;
    const { signal } = controller.current = new AbortController();
    const told = ({ done, failed }) =>
      setWork({ verb: "deleted", of: things.length, at: done.length + failed.length, running: true });
    told({ done: [], failed: [] });
    const { done, failed, left, problem } = await erase(things, signal, told);
    for (const record of done) {
      discard(record.prediction_id);
      change(record.prediction_id, null);
    }
    const rest = [...failed.map(([record]) => record), ...left];
    select(new Map(rest.map((record) => [record.prediction_id, record])));
    setWork({ verb: "deleted", done: done.length, failed, left: left.length, problem, running: false,
      again: left.length ? () => remove(left) : null });
  };

  const stop = () => (posting.current ? posting.current.stop() : controller.current.abort());

  if (!records.length && !work) return null;
  const busy = work?.running === true;
  const unlisted = records.filter((record) => !listed.has(record.prediction_id)).length;
  return html`
    <section class="many" ref=${section} tabindex="-1" aria-label="Selected records">
      ${records.length > 0 && html`
        <p>
          <strong role="status">${count(records.length)} selected</strong>
          ${unlisted > 0 && html`
            ${" "}<span class="muted">(${count(unlisted)} of them no longer in the list)</span>`}
          ${" "}<button type="button" disabled=${busy} onClick=${() => select(new Map())}>Select none</button>
        </p>`}
      ${records.length > 0 && !busy && html`
        <div class="label-many" role="group" aria-label="Label the selected records">
          <p class="muted">The ground truth of ${records.length === 1 ? "this record" : "all of them"}:</p>
          <${TruthChoice} record=${common(records, served)} served=${served}
            choose=${(body) => label(records.map((record) => [record, body]))} />
        </div>
        <p class="buttons"><button type="button" onClick=${() => setAsking(true)}>Delete …</button></p>`}
      ${asking && html`
        <${Confirm} number=${records.length} yes=${() => remove(records)} no=${() => setAsking(false)} />`}
      ${busy && html`<${Progress} work=${work} stop=${stop} />`}
      ${work && !busy && html`<${Outcome} work=${work} close=${() => setWork(null)} />`}
    </section>`;
}

/** Return one record that stands for all, so that the control suits each of them. */
function common(records, served) {
  const [first] = records;
  const value = records.every((record) => record.ground_truth === first.ground_truth) ? first.ground_truth : undefined;
  const sameLabels = records.every((record) => labelsFor(record, served));
  const model = sameLabels || records.length === 1 ? first.model : undefined; // Without a model, the label is typed.
  return { ...first, model, ground_truth: Array.isArray(value) ? undefined : value };
}

/** Return the members of a record that a ground truth changes; null withdraws it. */
function judged(record, body) {
  if (body === null) return UNJUDGED;
  const { label, value } = body;
  const truth = label ?? value;
  const isText = truth === null || typeof truth !== "object";
  const correct = label === undefined || record.label === undefined ? undefined : record.label === label;
  return { ground_truth: isText ? truth : [], truth: isText ? String(truth) : JSON.stringify(truth), correct };
}

/** Whether the list has a record's whole ground truth: only then can it be given again. */
function isKnown({ ground_truth: truth, label }) {
  return truth === undefined || typeof truth === "number" || label !== undefined;
}

/** Return the body that gives a record the ground truth that it has now. */
function bodyOf(record) {
  if (record.ground_truth === undefined) return null;
  return record.label !== undefined ? { label: record.ground_truth } : { value: record.ground_truth };
}

function Confirm({ number, yes, no }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  const what = number === 1 ? "1 record" : `${count(number)} records`;
  return html`
    <dialog ref=${dialog} aria-labelledby="confirm-title" onClose=${no}>
      <h2 id="confirm-title">Delete ${what}?</h2>
      <p>Each record is deleted for good, with its ground truth, and with its input unless another record has it too.</p>
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
  const { verb, done, failed, left, waiting = 0, problem, undo, again } = work;
  const stopped = !problem || problem.name === "AbortError";
  return html`
    <div class="outcome">
      <p role="status">
        ${count(done)} ${verb}${failed.length > 0 && `, ${count(failed.length)} not`}
        ${left > 0 && `, ${count(left)} still to do`}
        ${waiting > 0 && `, ${count(waiting)} kept until they can be stored`}.
      </p>
      ${failed.length > 0 && html`
        <ul aria-label="Records that failed">
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
