/** Show stored inputs. They are other people's bytes: an image comes from a blob in an <img>, all else is text. */

import { blob, get } from "./api.js";
import { Boxed, BoxesNote } from "./finds.js";
import { number } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { useKeys } from "./keys.js";
import { useLoad } from "./load.js";
import { useServed } from "./served.js";
import { Failed, Loading } from "./states.js";

const SMALL = 128; // Pixels. A smaller picture is enlarged without smoothing, so that each pixel is seen.
const MOST_CHARACTERS = 20_000; // Of JSON that is shown. All of it can be downloaded.
const SCROLLED = { tabindex: "0", role: "group", "aria-label": "The input, enlarged" }; // It scrolls by keys, too.
const NEAR = 0.015; // Of a baseline's quantile: it is within 1 % of a value that occurred, and has three digits.
const PART = 4_000_000; // Bytes that fit into an answer of the API.
const MEMBERS = ["features", "inputs", "request", "image", "input_url"];

/** The path of a record's input, byte for byte. */
export const inputPath = (record) => `/prediction/${record.prediction_id}/input`;

/** Whether the input of a record is a picture. */
export const isPicture = (record) => record.contenttype.startsWith("image/");

/** Whether a record was predicted by the model that is served now. */
export const isOfServed = (record, served) =>
  Boolean(served && record.model?.name === served.name && record.model?.version === served.version);

/** Load a picture as a blob. Returns `{url, problem}`, each null until it is known. */
function usePicture(record) {
  const [state, setState] = useState({ url: null, problem: null });
  useEffect(() => {
    const controller = new AbortController();
    let url = null;
    setState({ url: null, problem: null });
    inParts(inputPath(record), undefined, { signal: controller.signal }).then(
      (content) => {
        if (controller.signal.aborted) return;
        url = URL.createObjectURL(content);
        setState({ url, problem: null });
      },
      (problem) => { if (!controller.signal.aborted) setState({ url: null, problem }); },
    );
    return () => {
      controller.abort();
      if (url) URL.revokeObjectURL(url);
    };
  }, [record.prediction_id]);
  return state;
}

/**
 * The input of a record as it was sent.
 *
 * @param {{record: object, zoom?: boolean}} props A record with its input, or without it, which is loaded then. `zoom`:
 *   a picture can be enlarged.
 */
export function StoredInput({ record, zoom = false }) {
  if (isPicture(record)) return html`<${Picture} key=${record.prediction_id} record=${record} zoom=${zoom} />`;
  if (MEMBERS.some((member) => record[member] !== undefined)) return html`<${Data} record=${record} />`;
  return html`<${LoadedData} key=${record.prediction_id} record=${record} />`;
}

function LoadedData({ record }) {
  const { value, problem, again } = useLoad(
    (signal) => get(`/prediction/${record.prediction_id}`, {}, { signal }), [record.prediction_id]);
  if (problem) return html`<${Failed} problem=${problem} again=${again} />`;
  return value ? html`<${Data} record=${value} />` : html`<${Loading} />`;
}

function Picture({ record, zoom }) {
  const [tries, setTries] = useState(0);
  return html`<${LoadedPicture} key=${tries} record=${record} zoom=${zoom} again=${() => setTries(tries + 1)} />`;
}

function LoadedPicture({ record, zoom, again }) {
  const { url, problem } = usePicture(record);
  const served = useServed().value;
  const [size, setSize] = useState(null);
  const [undecodable, setUndecodable] = useState(false);
  const [large, setLarge] = useState(false);
  useKeys({ z: zoom && size ? ["zoom", () => setLarge(!large)] : null });
  if (problem) return html`<${Failed} problem=${problem} again=${again} />`;
  if (undecodable) {
    return html`<p class="muted">This browser does not show ${record.contenttype}. Download the input to see it.</p>`;
  }
  if (!url) return html`<${Loading} />`;
  const small = size && Math.max(size.width, size.height) <= SMALL;
  const boxed = { record, model: isOfServed(record, served) ? served : null, size };
  const seen = ({ target }) => setSize({ width: target.naturalWidth, height: target.naturalHeight });
  return html`
    <figure class="stored-input">
      <div class="picture ${large ? "large" : ""}" ...${large ? SCROLLED : {}}>
        <${Boxed} ...${boxed}>
          <img class=${small ? "pixels" : ""} src=${url} alt="The input${record.filename ? `: ${record.filename}` : ""}"
            width=${large ? enlarged(size).width : undefined} onLoad=${seen} onError=${() => setUndecodable(true)} />
        <//>
      </div>
      <figcaption class="muted">
        ${size ? `${size.width} × ${size.height} pixels` : ""}
        ${zoom && size && html`${" "}<button type="button" aria-pressed=${large ? "true" : "false"}
          onClick=${() => setLarge(!large)}>Zoom <kbd aria-hidden="true">z</kbd></button>`}
        <${BoxesNote} ...${boxed} />
      </figcaption>
    </figure>`;
}

/** The width of an enlarged picture: twice its own, or enough to make its pixels visible. */
function enlarged({ width, height }) {
  const factor = Math.max(2, Math.floor(1120 / Math.max(width, height)));
  return { width: width * factor, height: height * factor };
}

function Data({ record }) {
  if (record.features !== undefined) return html`<${Features} record=${record} />`;
  if (record.inputs !== undefined) return html`<${Tensors} tensors=${Object.entries(record.inputs)} />`;
  if (record.request !== undefined) {
    const tensors = record.request.inputs;
    if (!Array.isArray(tensors)) return html`<${Json} value=${record.request} />`;
    return html`<${Tensors} tensors=${tensors.map((one) => [one.name, one.data, one.shape, one.datatype])} />`;
  }
  return html`<p class="muted">The input (${record.contenttype}) is not shown here. Download it to see it.</p>`;
}

/** How a feature's value compares with the baseline's range: `{words, usual}`. `usual` is null if that is not known. */
export function compared(value, range) {
  if (!range) return { words: "", usual: null };
  if (range.categories) {
    const usual = range.categories.includes(String(value));
    return { words: usual ? "" : "not in the baseline", usual };
  }
  if (typeof value !== "number" || typeof range.p01 !== "number") return { words: "", usual: null };
  if (value < range.p01 - NEAR * Math.abs(range.p01)) return { words: "lower than usual", usual: false };
  if (value > range.p99 + NEAR * Math.abs(range.p99)) return { words: "higher than usual", usual: false };
  return { words: "", usual: true };
}

/** The baseline's range of a feature, in words. */
export function rangeText(range) {
  if (!range) return "";
  if (range.categories) {
    const some = range.categories.slice(0, 5).join(", ");
    return range.categories.length > 5 ? `${some}, …` : some;
  }
  return typeof range.p01 === "number" ? `${number(range.p01)} to ${number(range.p99)}` : "";
}

function Features({ record }) {
  const served = useServed().value;
  const isServed = isOfServed(record, served);
  const ranges = (isServed && served.baseline?.features) || {};
  const names = isServed && served.features?.length === record.features.length ? served.features : [];
  const entries = Array.isArray(record.features)
    ? record.features.map((value, index) => [names[index]?.name ?? String(index), value])
    : Object.entries(record.features);
  const compare = entries.some(([name]) => Object.hasOwn(ranges, name));
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label="The features">
      <table class="features">
        <thead><tr>
          <th scope="col">Feature</th><th scope="col" class="number">Sent</th>
          ${compare && html`<th scope="col">Usual</th>`}
        </tr></thead>
        <tbody>
          ${entries.map(([name, value]) => html`
            <${Feature} key=${name} name=${name} value=${value} compare=${compare}
              range=${Object.hasOwn(ranges, name) ? ranges[name] : undefined} />`)}
        </tbody>
      </table>
    </div>
    ${compare && html`
      <p class="muted">Usual is what 98 % of the baseline's ${number(served.baseline.count)} inputs have.</p>`}`;
}

/** A value with all its digits. */
const exactly = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function Feature({ name, value, range, compare }) {
  const { words, usual } = compared(value, range);
  const hasScale = typeof value === "number" && typeof range?.p01 === "number";
  return html`
    <tr class=${usual === false ? "unusual" : ""}>
      <th scope="row">${name}</th>
      <td class="number">${value === null ? "missing" : exactly(value)}</td>
      ${compare && html`
        <td>
          ${rangeText(range)}${words && html`; <strong>${words}</strong>`}
          ${hasScale && html`<${Scale} value=${value} range=${range} />`}
        </td>`}
    </tr>`;
}

/** Where a number is in its range: the range takes the middle half of the line. The words beside it say the same. */
function Scale({ value, range }) {
  const width = range.p99 - range.p01;
  const at = width > 0 ? 25 + 50 * (value - range.p01) / width : 50;
  return html`
    <svg class="scale" viewBox="0 0 100 10" width="100" height="10" aria-hidden="true">
      <line class="whole" x1="0" x2="100" y1="5" y2="5" />
      <line class="usual" x1="25" x2="75" y1="5" y2="5" />
      <circle cx=${Math.max(4, Math.min(96, at))} cy="5" r="3.5" />
    </svg>`;
}

/** The lengths of a nested list's axes, by its first members. */
function shapeOf(value) {
  const shape = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
  return shape;
}

/** Tensors by name: `[[name, data, shape, datatype], …]`; the last two may be absent. */
function Tensors({ tensors }) {
  return html`
    <dl class="tensors">
      ${tensors.map(([name, data, shape = shapeOf(data), datatype]) => html`
        <div key=${name}>
          <dt>${name} <span class="muted">${datatype} ${shape.length ? shape.join(" × ") : "one value"}</span></dt>
          <dd><${Json} value=${data} label="Values of ${name}" /></dd>
        </div>`)}
    </dl>`;
}

/** A value as JSON, cut where it gets too long to read. */
export function Json({ value, label = "JSON", indent = 0 }) {
  const text = typeof value === "string" && indent === null ? value : JSON.stringify(value, null, indent) ?? "";
  return html`
    <pre class="json" tabindex="0" role="group" aria-label=${label}>${text.slice(0, MOST_CHARACTERS)}</pre>
    ${text.length > MOST_CHARACTERS && html`
      <p class="muted">The first ${number(MOST_CHARACTERS)} of ${number(text.length)} characters.</p>`}`;
}

/**
 * Read bytes of any length in parts, from this API alone: a request for all of them might be redirected to the bucket.
 *
 * @param {string} path
 * @param {function(number): void} [told] Gets how many bytes are loaded.
 * @param {{signal?: AbortSignal}} [options]
 */
export async function inParts(path, told = () => {}, { signal } = {}) {
  const parts = [];
  for (let start = 0; ; start += PART) {
    let part;
    try {
      part = await blob(path, { signal, headers: { Range: `bytes=${start}-${start + PART - 1}` } });
    } catch (problem) {
      if (problem.status === 416 && start > 0) break; // The last part was as long as a part can be.
      throw problem;
    }
    parts.push(part);
    told(start + part.size);
    if (part.size !== PART) break;
  }
  return new Blob(parts, { type: parts[0].type });
}

/** Let the browser save bytes as a file. */
export function save(content, name) {
  const url = URL.createObjectURL(content);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // The browser may ask first where to save it.
}
