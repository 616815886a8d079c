/** Show what a model answered, whatever its task is. */

import { findsOf } from "./boxes.js";
import { Bars } from "./charts.js";
import { Finds } from "./finds.js";
import { bytes, count, duration, percent, shown } from "./format.js";
import { html, useState } from "./html.js";
import { inParts, isOfServed, isPicture, Json, save } from "./input.js";
import { Failed } from "./states.js";

const MOST_BARS = 10;
const MOST_TARGETS = 50; // More numbers than this are a vector, which nobody reads one by one.

/**
 * The answer of a record: the value in large type, and the details.
 *
 * @param {{record: object, served: object|null}} props
 */
export function Answer({ record, served }) {
  if (record.status === "queued" || record.status === "processing") {
    return html`<p class="muted" role="status">
      ${record.status === "queued" ? "Waits to be predicted …" : "Is being predicted …"}
    </p>`;
  }
  return html`
    ${record.status === "failed" && html`<p class="value wrong">Failed</p>`}
    ${record.error && html`<p class="wrong">${record.error}</p>`}
    ${record.status === "succeeded" && html`<${Value} record=${record} />`}
    <${Scores} record=${record} served=${served} />
    <${Rest} record=${record} served=${served} />`;
}

/** The model's answer in a few words: for a heading, or where space is short. */
export function inWords(record) {
  if (record.status !== "succeeded") return record.status;
  const finds = findsOf(record);
  if (finds) return finds.length === 1 ? "1 find" : `${count(finds.length)} finds`;
  const value = record.predicted_value;
  if (value === undefined || value === null) return "stored";
  if (!Array.isArray(value)) return shown(value);
  return value.length > 5 ? `${count(value.length)} values` : shown(value);
}

function Value({ record }) {
  return html`
    <p class="value">${record.predicted_value === undefined && !findsOf(record) ? "Stored" : inWords(record)}</p>
    ${record.confidence !== undefined && html`<p>with ${percent(record.confidence)} confidence</p>`}`;
}

/** The probability of each class: `[{index, probability}, …]`, or null if the model's scores are not probabilities. */
function scoresOf({ prediction, confidence }) {
  if (confidence === undefined || !prediction) return null;
  if (Array.isArray(prediction.values) && Array.isArray(prediction.indices)) {
    const indices = prediction.indices.flat(Infinity);
    return prediction.values.flat(Infinity).map((probability, at) => ({ index: indices[at], probability }));
  }
  if (!Array.isArray(prediction)) return null;
  const scores = prediction.flat(Infinity);
  if (scores.some((score) => typeof score !== "number")) return null;
  if (scores.length === 1) scores.unshift(1 - scores[0]); // A single one is the second of two classes.
  return scores.map((probability, index) => ({ index, probability }));
}

function Scores({ record, served }) {
  const scores = scoresOf(record);
  if (!scores) return null;
  const labels = isOfServed(record, served) ? served.labels : null;
  const name = (index) => labels?.[index] ?? (index === record.likely_class ? record.label : `class ${index}`);
  const likeliest = [...scores].sort((a, b) => b.probability - a.probability).slice(0, MOST_BARS);
  const items = (scores.length > MOST_BARS ? likeliest : scores).map(({ index, probability }) => ({
    name: name(index), value: probability, text: percent(probability), marked: index === record.likely_class,
  }));
  return html`
    <${Bars} label="Probability of each class" items=${items} />
    ${scores.length > MOST_BARS && html`
      <p class="muted">The ${MOST_BARS} likeliest of ${count(scores.length)} classes.</p>`}`;
}

/** All that is neither the value nor the scores of classes: finds, several targets, a vector, tensors. */
function Rest({ record, served }) {
  const { prediction, predicted_value: value } = record;
  const finds = findsOf(record);
  const outputs = { ...(Array.isArray(prediction) ? {} : prediction?.outputs), ...record.outputs };
  return html`
    ${finds?.length > 0 && html`
      <${Finds} record=${record} drawn=${isPicture(record) && isOfServed(record, served)} />`}
    ${!finds && Array.isArray(value) && html`<${Targets} values=${value} />`}
    ${Object.keys(outputs).length > 0 && html`<${Outputs} outputs=${outputs} record=${record} />`}`;
}

function Targets({ values }) {
  if (values.length > MOST_TARGETS || values.some(Array.isArray)) {
    return html`<details><summary>The values</summary><${Json} value=${values} label="The values" /></details>`;
  }
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label="The values">
      <table>
        <thead><tr><th scope="col">Target</th><th scope="col">Value</th></tr></thead>
        <tbody>
          ${values.map((value, index) => html`
            <tr key=${index}><th scope="row">${index + 1}</th><td>${shown(value)}</td></tr>`)}
        </tbody>
      </table>
    </div>`;
}

function Outputs({ outputs, record }) {
  return html`
    <dl class="tensors">
      ${Object.entries(outputs).map(([name, one]) => html`
        <div key=${name}>
          <dt>${name} <span class="muted">${one.datatype} ${shapeText(one.shape)}</span></dt>
          <dd>${one.data === undefined
            ? html`<${Apart} name=${name} output=${one} record=${record} />`
            : html`<${Json} value=${one.data} label="Values of ${name}" />`}</dd>
        </div>`)}
    </dl>`;
}

const shapeText = (shape) => (shape?.length ? shape.join(" × ") : "one value");

/** An output that is stored apart from its record. */
function Apart({ name, output, record }) {
  const [state, setState] = useState({ loaded: null, problem: null });
  const download = async () => {
    if (state.loaded !== null) return;
    setState({ loaded: 0, problem: null });
    try {
      const content = await inParts(output.href, (loaded) => setState({ loaded, problem: null }));
      save(content, `${record.prediction_id}-${name}.bin`);
      setState({ loaded: null, problem: null });
    } catch (problem) {
      setState({ loaded: null, problem });
    }
  };
  return html`
    <p>
      ${bytes(output.size)}, stored apart. SHA-256 <code>${output.sha256}</code>${" "}
      <button type="button" onClick=${download}>Download ${name}</button>${" "}
      <span role="status">${state.loaded !== null && `${bytes(state.loaded)} of ${bytes(output.size)} …`}</span>
    </p>
    <p class="muted">Little-endian, in row-major order, as the Open Inference Protocol has it.</p>
    ${state.problem && html`<${Failed} problem=${state.problem} again=${download} />`}`;
}

/** When and by what a record was predicted. */
export const madeBy = (record) =>
  `${record.model ? `predicted by ${record.model.name} ${record.model.version}` : "not predicted yet"}${
    record.duration_ms === undefined ? "" : ` in ${duration(record.duration_ms)}`}`;
