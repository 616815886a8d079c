/** Ask the model: draw, drop, paste, photograph or choose pictures, fill in features, or write tensors as JSON. */

import { Answer, inWords, madeBy } from "../answer.js";
import { ask, clearSettled, isLarge, requestOfFile, requestOfJson, retry, smallerCopy, useAsked } from "../asking.js";
import { findsOf } from "../boxes.js";
import { Drawing, pictureOf } from "../drawing.js";
import { Boxed, BoxesNote } from "../finds.js";
import { bytes } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { compared, isOfServed, rangeText } from "../input.js";
import { href } from "../route.js";
import { useServed } from "../served.js";
import { session } from "../session.js";
import { Failed, Loading, Notice } from "../states.js";
import { areDigits } from "../truth.js";

// What is typed is kept in the session storage, by user: signing in again loses nothing, and nobody sees another's.
const DRAFT = `onnx-ledger.predict.${session.user?.name ?? ""}`;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

export default function View() {
  const { value: served, problem, again } = useServed();
  return html`
    <div class="predict">
      <section aria-labelledby="predict-title">
        <h1 id="predict-title">Predict</h1>
        ${problem && html`<${Failed} problem=${problem} again=${again} />`}
        ${!served && !problem && html`<${Loading} what="the model" />`}
        ${served && html`<${Form} served=${served} />`}
      </section>
      <section aria-labelledby="answers-title">
        <h2 id="answers-title">Answers</h2>
        <${Answers} served=${served} />
      </section>
    </div>`;
}

function Form({ served }) {
  if (served.takes === "image") return html`<${Pictures} served=${served} />`;
  if (served.takes === "tensors") return html`<${TensorsForm} served=${served} />`;
  const named = served.features?.length && served.features.every(({ name }) => name !== null);
  return named ? html`<${FeaturesForm} served=${served} />` : html`<${FeatureList} served=${served} />`;
}

// --- Pictures ---

function Pictures({ served }) {
  const [strokes, setStrokes] = useDraft("drawing", []);
  const [dropping, setDropping] = useState(false);
  const [notice, setNotice] = useState("");
  const drawable = served.color === "grey"; // In colour there is no sense in drawing.
  const change = (changed) => {
    setStrokes(changed);
    setNotice("");
  };
  const take = (files) => {
    setNotice("");
    if (!files.length) return;
    ask([...files].map((file) => ({ name: file.name || "picture", content: file, request: requestOfFile(file) })));
  };
  useFiles(take, setDropping);
  const predictDrawing = async (event) => {
    event.preventDefault();
    if (!strokes.length) {
      setNotice("There is nothing to predict yet: draw, or choose a file.");
      return;
    }
    const content = await pictureOf(strokes);
    const request = requestOfFile(content, "drawing.png");
    ask([{ name: "drawing.png", same: JSON.stringify(strokes), content, request }]);
  };
  const what = areDigits(served.labels) ? "a digit" : "a picture";
  return html`
    <div class=${dropping ? "dropping" : ""}>
      ${drawable && html`
        <form onSubmit=${predictDrawing}>
          <p>Draw ${what}, white on black.</p>
          <${Drawing} strokes=${strokes} changed=${change} />
          <p class="buttons">
            <button class="main">Predict</button>
            <button type="button" onClick=${() => change([])}>Clear</button>
          </p>
          ${notice && html`<${Notice}>${notice}<//>`}
        </form>`}
      <p>
        <label for="files">${drawable ? "Or choose, drop or paste pictures" : "Choose, drop or paste pictures"}</label>
        <${FileField} id="files" multiple take=${take} />
      </p>
      ${matchMedia("(pointer: coarse)").matches && html`
        <p>
          <label for="photo">Or take a photo</label>
          <${FileField} id="photo" capture="environment" take=${take} />
        </p>`}
      <p class="muted">
        Each is predicted, and stored with its answer. The model takes ${listed(served.content_types)}.
      </p>
    </div>`;
}

const listed = (types) => (types ?? []).map((type) => type.replace("image/", "").toUpperCase()).join(", ");

function FileField({ take, ...attributes }) {
  const changed = ({ target }) => {
    take([...target.files]);
    target.value = ""; // So that the same file can be chosen once more.
  };
  return html`<input type="file" accept="image/*" ...${attributes} onChange=${changed} />`;
}

/** Take files that are pasted, or dropped anywhere on the page: the browser would leave the page to open them. */
function useFiles(take, setDropping) {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const hasFiles = (event) => [...event.dataTransfer?.types ?? []].includes("Files");
    const over = (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setDropping(true);
    };
    const leave = (event) => { if (!event.relatedTarget) setDropping(false); };
    const drop = (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setDropping(false);
      latest.current([...event.dataTransfer.files]);
    };
    const paste = (event) => {
      const files = [...event.clipboardData?.files ?? []];
      if (!files.length) return; // Text, which goes where one types.
      event.preventDefault();
      latest.current(files);
    };
    const listeners = { dragover: over, dragleave: leave, drop, paste };
    for (const [name, listener] of Object.entries(listeners)) document.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) document.removeEventListener(name, listener);
    };
  }, []);
}

// --- Features and tensors ---

/** What is typed in the form, kept until it is predicted. */
function useDraft(name, otherwise) {
  const key = `${DRAFT}.${name}`;
  const [draft, setDraft] = useState(() => read(key) ?? otherwise);
  const change = (changed) => {
    setDraft(changed);
    try {
      sessionStorage.setItem(key, JSON.stringify(changed));
    } catch { /* It is kept no longer than the view then. */ }
  };
  return [draft, change];
}

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Return what is typed as JSON: a number digit by digit, true or false, or else a text, for the API to judge. */
function literal(text, type) {
  if (type === "string") return JSON.stringify(text);
  if (JSON_NUMBER.test(text) || text === "true" || text === "false" || text === "null") return text;
  return JSON.stringify(text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
}

/** What was wrong with the last input of this form. It is shown beside the fields until the form is sent again. */
function useFaults(same) {
  const last = useAsked().find((item) => item.same === same);
  return last?.state === "failed" ? last.problem.errors ?? [] : [];
}

const pointerTo = (name) => `/features/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`; // RFC 6901

function FeaturesForm({ served }) {
  const [texts, setTexts] = useDraft(`${served.name} ${served.version}`, {});
  const ranges = served.baseline?.features ?? {};
  const given = served.features.map(({ name, type }) => [name, type, (texts[name] ?? "").trim()]);
  const members = given
    .filter(([, , text]) => text !== "" || served.missing)
    .map(([name, type, text]) => `${JSON.stringify(name)}:${text === "" ? "null" : literal(text, type)}`);
  const body = `{"features":{${members.join(",")}}}`;
  const faults = useFaults(body);
  const submit = (event) => {
    event.preventDefault();
    ask([{ name: "features", same: body, request: requestOfJson(body) }]);
  };
  const typical = ({ name }) => ranges[name]?.p50 ?? ranges[name]?.categories?.[0];
  const fill = () => setTexts(Object.fromEntries(
    served.features.map((one) => [one.name, texts[one.name] || String(typical(one) ?? "")])));
  return html`
    <form novalidate onSubmit=${submit}>
      <div class="fields">
        ${served.features.map((feature, index) => html`
          <${Field} key=${feature.name} id="feature-${index}" feature=${feature} text=${texts[feature.name] ?? ""}
            range=${Object.hasOwn(ranges, feature.name) ? ranges[feature.name] : undefined}
            faults=${faults.filter(({ pointer }) => pointer === pointerTo(feature.name))}
            changed=${(text) => setTexts({ ...texts, [feature.name]: text })} />`)}
      </div>
      ${served.missing && html`<p class="muted">A field that is empty is sent as missing.</p>`}
      <p class="buttons">
        <button class="main">Predict</button>
        ${served.features.some((one) => typical(one) !== undefined) && html`
          <button type="button" onClick=${fill}>Fill in typical values</button>`}
        <button type="button" onClick=${() => setTexts({})}>Clear</button>
      </p>
    </form>`;
}

function Field({ id, feature, text, range, faults, changed }) {
  const { name, type } = feature;
  const { words } = compared(type === "string" ? text : Number(text), text.trim() === "" ? undefined : range);
  const usual = rangeText(range);
  const attributes = {
    id, value: text, autocomplete: "off", "aria-invalid": faults.length ? "true" : "false",
    "aria-describedby": `${id}-hint ${id}-wrong`, onInput: (event) => changed(event.target.value),
  };
  return html`
    <div class="field">
      <label for=${id}>${name}</label>
      ${type === "boolean"
        ? html`<select ...${attributes}><option value=""></option><option>true</option><option>false</option></select>`
        : html`<input ...${attributes} inputmode=${type === "string" ? "text" : "decimal"}
            list=${range?.categories ? `${id}-list` : undefined} />`}
      ${range?.categories && html`
        <datalist id="${id}-list">
          ${range.categories.slice(0, 100).map((one) => html`<option key=${one} value=${one} />`)}
        </datalist>`}
      <p id="${id}-hint" class="muted">
        ${[type, usual && `usual: ${usual}`].filter(Boolean).join(", ")}${words && html`; <strong>${words}</strong>`}
      </p>
      <p id="${id}-wrong" class="wrong">${faults.map(({ detail }) => detail).join("; ")}</p>
    </div>`;
}

/** Features without names: a list, in the model's order. */
function FeatureList({ served }) {
  const count = served.features?.length;
  const build = (text) => {
    if (text.trim().startsWith("[") || text.trim().startsWith("{")) return `{"features":${checked(text)}}`;
    const texts = text.split(/[\s,;]+/).filter(Boolean);
    return `{"features":[${texts.map((one) => literal(one)).join(",")}]}`;
  };
  return html`<${TextForm} served=${served} label="${count ?? "The"} features, in the model's order" build=${build}
    hint="Numbers with spaces or commas between them, or a JSON list." name="features" otherwise="" />`;
}

function TensorsForm({ served }) {
  const skeleton = served.inputs.filter(({ optional }) => !optional).map(({ name }) => `  ${JSON.stringify(name)}: []`);
  const hint = served.inputs.map(({ name, datatype, shape, optional }) =>
    `${name}: ${datatype} ${shape.length ? shape.map((axis) => axis ?? "any").join(" × ") : "one value"}${
      optional ? ", optional" : ""}`).join("; ");
  return html`<${TextForm} served=${served} label="The inputs, as JSON" build=${(text) => `{"inputs":${checked(text)}}`}
    hint=${hint} name="inputs" otherwise=${`{\n${skeleton.join(",\n")}\n}`} />`;
}

/** Return a text that is JSON as it is. */
function checked(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no JSON: ${error.message}`);
  }
  return text;
}

function TextForm({ served, label, hint, name, otherwise, build }) {
  const [text, setText] = useDraft(`${served.name} ${served.version}`, otherwise);
  const [wrong, setWrong] = useState("");
  const field = useRef(null);
  useFiles(([file]) => file?.text().then(setText, () => setWrong("The file cannot be read.")), () => {});
  const submit = (event) => {
    event.preventDefault();
    let body;
    try {
      body = build(text);
    } catch (error) {
      setWrong(error.message);
      field.current?.focus();
      return;
    }
    setWrong("");
    ask([{ name, same: body, request: requestOfJson(body) }]);
  };
  return html`
    <form novalidate onSubmit=${submit}>
      <label for="text">${label}</label>
      <textarea id="text" ref=${field} rows="8" spellcheck=${false} autocomplete="off" value=${text}
        aria-describedby="text-hint text-wrong" aria-invalid=${wrong ? "true" : "false"}
        onInput=${(event) => setText(event.target.value)}></textarea>
      <p id="text-hint" class="muted">${hint}</p>
      <p id="text-wrong" class="wrong" role="alert">${wrong}</p>
      <p class="buttons">
        <button class="main">Predict</button>
        <button type="button" onClick=${() => { setText(otherwise); setWrong(""); }}>Clear</button>
      </p>
    </form>`;
}

// --- Answers ---

function Answers({ served }) {
  const items = useAsked();
  if (!items.length) return html`<p class="muted">The answer will appear here.</p>`;
  const number = (state) => items.filter((item) => item.state === state).length;
  const [answered, failed] = [number("answered"), number("failed")];
  const over = answered + failed;
  return html`
    <p role="status">${progressText(items, answered, failed)}</p>
    ${items.length > 1 && over < items.length && html`
      <progress max=${items.length} value=${over} aria-label="How many are predicted"></progress>`}
    ${(items.length > 1 || failed > 0) && html`
      <p class="buttons">
        ${failed > 1 && html`<button type="button" onClick=${() => retry()}>Try all ${failed} again</button>`}
        ${over > 0 && html`<button type="button" onClick=${clearSettled}>Clear the list</button>`}
      </p>`}
    <ol class="answers">
      ${items.map((item) => html`<${Item} key=${item.key} item=${item} served=${served} />`)}
    </ol>`;
}

function progressText(items, answered, failed) {
  if (items.length > 1) {
    return `${answered} of ${items.length} predicted${failed ? `, ${failed} failed` : ""}.`;
  }
  const [{ state, sent, record }] = items;
  if (state === "answered") {
    return `Answer: ${inWords(record)}, stored.`;
  }
  if (state === "failed") return "It was not predicted.";
  return sent ? "Uploading …" : "Predicting …";
}

function Item({ item, served }) {
  const { key, name, picture, state, sent, record, problem } = item;
  const row = useRef(null);
  const again = () => {
    row.current.focus(); // The button goes away.
    retry(key);
  };
  return html`
    <li class="answered" ref=${row} tabindex="-1">
      ${picture && html`<${Sent} picture=${picture} record=${record} served=${served} />`}
      <div>
        <h3>${name}</h3>
        ${state === "waiting" && html`<p class="muted">Waiting …</p>`}
        ${state === "asked" && (sent
          ? html`
            <p class="muted">Uploading: ${bytes(sent.loaded)} of ${bytes(sent.total)} …</p>
            <progress max=${sent.total} value=${sent.loaded} aria-label="How much of ${name} is uploaded"></progress>`
          : html`<p class="muted">Predicting …</p>`)}
        ${state === "failed" && html`
          <${Failed} problem=${problem} again=${again} />
          ${mayBeStored(problem) && html`
            <p class="muted">It may have been stored. Try again: it is not stored twice.</p>`}
          ${item.content && (problem.status === 413 || isLarge(item.content)) && html`<${Smaller} item=${item} />`}`}
        ${state === "answered" && html`
          <${Answer} record=${record} served=${served} />
          <p class="muted">
            Stored as <a href=${href("record", [record.prediction_id])}>${record.prediction_id}</a>, ${madeBy(record)}.
          </p>`}
      </div>
    </li>`;
}

/** The picture that was sent: small, or large enough to see what was found in it. */
function Sent({ picture, record, served }) {
  const [size, setSize] = useState(null);
  const isFound = record && findsOf(record)?.length > 0;
  const boxed = { record, model: record && isOfServed(record, served) ? served : null, size };
  const seen = ({ target }) => setSize({ width: target.naturalWidth, height: target.naturalHeight });
  const image = html`<img class="sent ${isFound ? "found" : ""}" src=${picture} alt="" onLoad=${seen}
    onError=${({ target }) => { target.hidden = true; }} />`;
  if (!isFound) return image;
  return html`<div class="picture-found"><${Boxed} ...${boxed}>${image}<//><${BoxesNote} ...${boxed} /></div>`;
}

/** Offer a smaller copy of a picture that is too large. The button says so, because another picture is predicted. */
function Smaller({ item }) {
  const [wrong, setWrong] = useState("");
  const shrink = async () => {
    try {
      const content = await smallerCopy(item.content);
      const name = `${item.name.replace(/\.[^.]*$/, "")} (smaller).jpg`;
      ask([{ name, same: `${item.key} smaller`, content, request: requestOfFile(content, name) }]);
    } catch (error) {
      setWrong(error.message);
    }
  };
  return html`
    <button type="button" onClick=${shrink}>Send a smaller copy</button>
    <p class="wrong" role="alert">${wrong}</p>`;
}

/** Whether the input may have been stored: no answer has said that it was not. */
const mayBeStored = ({ kind, status }) => kind === "unreachable" || (status >= 500 && status !== 503);
