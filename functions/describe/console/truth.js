/** The controls with which a user says what a prediction should have been. */

import { useId } from "preact/hooks";

import { html, useEffect, useRef, useState } from "./html.js";
import { useKeys } from "./keys.js";

const SHOWN = 50; // Labels that a list shows at once.
const MOST_EDITED = 2000; // Characters of JSON.

/**
 * The labels that a record's ground truth can be, or null where they are not known.
 *
 * @param {object} record
 * @param {object|null} served `GET /model`
 */
export function labelsFor(record, served) {
  const isOfServed = served && record.model && record.model.name === served.name;
  return isOfServed && served.labels?.length ? served.labels : null;
}

/**
 * How a record is judged: by a `label`, a `number`, or other JSON (`value`).
 *
 * @param {object} record
 * @param {object|null} served `GET /model`, which tells where the record itself does not: before it is predicted.
 */
export function judgedBy(record, served) {
  if (record.label !== undefined) return "label";
  if (record.predicted_value === undefined && served?.task === "classification") return "label";
  if (typeof record.predicted_value === "number") return "number";
  return record.predicted_value === undefined && served?.task === "regression" ? "number" : "value";
}

/** Whether each label is a single digit, so that its own key chooses it. */
export const areDigits = (labels) => Boolean(labels?.length) && labels.every((label) => /^\d$/.test(label));

/**
 * Choose a label: by its own key if all are digits, by 1 to 9 if there are at most nine, else from a list with a search
 * field (`/` goes there). If the labels are not known, it is typed.
 *
 * @param {{labels: string[]|null, value: string|undefined, choose: function(string): void, disabled?: boolean}} props
 */
function LabelChoice({ labels, value, choose, disabled = false }) {
  if (!labels) return html`<${TypedLabel} value=${value} choose=${choose} disabled=${disabled} />`;
  const props = { labels, value, choose, disabled };
  if (areDigits(labels)) return html`<${FewLabels} keys=${labels} ...${props} />`;
  if (labels.length <= 9) return html`<${FewLabels} keys=${labels.map((_, index) => String(index + 1))} ...${props} />`;
  return html`<${ManyLabels} ...${props} />`;
}

function FewLabels({ labels, keys, value, choose, disabled }) {
  const pairs = labels.map((label, index) => [keys[index], [`the truth is ${label}`, () => choose(label)]]);
  useKeys(disabled ? {} : Object.fromEntries(pairs));
  return html`
    <div class="labels" role="group" aria-label="The true label">
      ${labels.map((label, index) => html`
        <button type="button" key=${label} aria-pressed=${label === value ? "true" : "false"} disabled=${disabled}
          onClick=${() => choose(label)}>
          ${label}${keys[index] !== label && html`${" "}<kbd aria-hidden="true">${keys[index]}</kbd>`}
        </button>`)}
    </div>`;
}

function ManyLabels({ labels, value, choose, disabled }) {
  const [sought, setSought] = useState("");
  const field = useRef(null);
  const id = useId();
  useKeys({ "/": ["search the labels", () => field.current?.focus()] });
  const words = sought.trim().toLowerCase();
  const found = words ? labels.filter((label) => label.toLowerCase().includes(words)) : labels;
  const exact = found.find((label) => label.toLowerCase() === words);
  const first = exact ?? (words ? found[0] : undefined);
  const taken = (label) => {
    setSought("");
    field.current?.blur(); // So that single keys work again.
    choose(label);
  };
  const submit = (event) => {
    event.preventDefault();
    if (first !== undefined && !disabled) taken(first);
  };
  return html`
    <form class="label-search" onSubmit=${submit}>
      <label for=${id}>The true label: search ${labels.length} labels</label>
      <input id=${id} ref=${field} type="search" autocomplete="off" value=${sought} aria-describedby="${id}-found"
        onInput=${(event) => setSought(event.target.value)}
        onKeyDown=${(event) => { if (event.key === "Escape") event.target.blur(); }} />
      <p id="${id}-found" class="muted" role="status">
        ${words ? `${found.length} found${first === undefined ? "" : `: Enter takes ${first}`}` : ""}
      </p>
      <div class="labels found" role="group" aria-label="Labels">
        ${found.slice(0, SHOWN).map((label) => html`
          <button type="button" key=${label} aria-pressed=${label === value ? "true" : "false"} disabled=${disabled}
            onClick=${() => taken(label)}>${label}</button>`)}
      </div>
      ${found.length > SHOWN && html`<p class="muted">${found.length - SHOWN} more: search for them.</p>`}
    </form>`;
}

function TypedLabel({ value, choose, disabled }) {
  return html`<${Typed} label="The true label" value=${value ?? ""} disabled=${disabled} read=${(text) => text}
    choose=${choose} />`;
}

/**
 * Type the number that a prediction should have been.
 *
 * @param {{value: number|undefined, choose: function(number): void, disabled?: boolean}} props
 */
function NumberChoice({ value, choose, disabled = false }) {
  const read = (text) => {
    const number = Number(text);
    if (!text.trim() || !Number.isFinite(number)) throw new Error("This is no number: write 151.5, with a point.");
    return number;
  };
  return html`<${Typed} label="The true value" mode="decimal" value=${value === undefined ? "" : String(value)}
    disabled=${disabled} read=${read} choose=${choose} />`;
}

/**
 * Write the value that a prediction should have been, as JSON.
 *
 * @param {{value: *, choose: function(*): void, disabled?: boolean}} props
 */
function JsonChoice({ value, choose, disabled = false }) {
  const read = (text) => {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error('This is no JSON: write a number, "text", a list or an object.');
    }
  };
  return html`<${Typed} label="The true value, as JSON" lines=${4} disabled=${disabled} read=${read} choose=${choose}
    value=${value === undefined ? "" : JSON.stringify(value)} />`;
}

function Typed({ label, value, read, choose, disabled, mode, lines }) {
  const [text, setText] = useState(value);
  const [wrong, setWrong] = useState("");
  const field = useRef(null);
  const id = useId();
  const begun = useRef(value); // What the field had before the user typed.
  useEffect(() => {
    setText((before) => (before === begun.current ? value : before)); // What is typed meanwhile is not lost.
    begun.current = value;
  }, [value]);
  useKeys({ t: ["type the truth", () => field.current?.focus()] });
  const submit = (event) => {
    event.preventDefault();
    let said;
    try {
      said = read(text);
    } catch (error) {
      setWrong(error.message);
      field.current?.focus();
      return;
    }
    setWrong("");
    begun.current = text;
    field.current?.blur();
    choose(said);
  };
  const attributes = {
    id, ref: field, value: text, autocomplete: "off", "aria-invalid": wrong ? "true" : "false",
    "aria-describedby": `${id}-wrong`, onInput: (event) => setText(event.target.value),
    onKeyDown: (event) => { if (event.key === "Escape") event.target.blur(); },
  };
  return html`
    <form class="typed-truth" novalidate onSubmit=${submit}>
      <label for=${id}>${label} <kbd aria-hidden="true">t</kbd></label>
      <div class="with-button">
        ${lines
          ? html`<textarea ...${attributes} rows=${lines}></textarea>`
          : html`<input ...${attributes} inputmode=${mode} />`}
        <button disabled=${disabled || !text.trim()}>Set</button>
      </div>
      <p id="${id}-wrong" class="wrong" role="alert">${wrong}</p>
    </form>`;
}

/**
 * The control for a record's ground truth.
 *
 * @param {{record: object, served: object|null, choose: function(object): void, disabled?: boolean}} props
 *   `choose` gets the body, `{label}` or `{value}`. `record.ground_truth` is the current one.
 */
export function TruthChoice({ record, served, choose, disabled = false }) {
  const value = record.ground_truth;
  const kind = judgedBy(record, served);
  if (kind === "label") {
    return html`<${LabelChoice} labels=${labelsFor(record, served)} value=${value} disabled=${disabled}
      choose=${(label) => choose({ label })} />`;
  }
  const chosen = (said) => choose({ value: said });
  if (kind === "number") return html`<${NumberChoice} value=${value} disabled=${disabled} choose=${chosen} />`;
  // Begin with the prediction, unless it is too long to edit.
  const begun = JSON.stringify(record.predicted_value)?.length < MOST_EDITED ? record.predicted_value : undefined;
  return html`<${JsonChoice} value=${value ?? begun} disabled=${disabled} choose=${chosen} />`;
}
