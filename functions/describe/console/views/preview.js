/** Small previews of stored inputs for long lists. Only what is visible is loaded, a few at a time. */

import { blob } from "../api.js";
import { BETWEEN, shown } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { inParts, inputPath } from "../input.js";

const AT_ONCE = 6; // Requests: more would wait in the browser, and what has just come into sight behind them.
const KEPT_BYTES = 16_000_000; // Of previews that were scrolled out of sight, so that they are shown again at once.
const BEGINNING = 2000; // How many bytes of data are loaded: tensors can be megabytes,
const CHARACTERS = 160; // and how many characters of these are shown.

let running = 0;
const waiting = [];
const kept = new Map(); // prediction_id -> Blob, the most recently used last.
let keptBytes = 0;

/** Run `work` once fewer than `AT_ONCE` are running; not at all if `signal` is aborted first. */
async function inTurn(work, signal) {
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  else running += 1; // One that has waited takes the place of the one that wakes it.
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    const next = waiting.pop(); // The one that came into sight last.
    if (next) next();
    else running -= 1;
  }
}

async function load(record, signal) {
  const known = kept.get(record.prediction_id);
  const content = known ?? await inTurn(() => isPicture(record)
    ? inParts(inputPath(record), undefined, { signal })
    : blob(inputPath(record), { signal, headers: { Range: `bytes=0-${BEGINNING - 1}` } }), signal);
  keep(record.prediction_id, content);
  return content;
}

function keep(id, content) {
  discard(id);
  kept.set(id, content);
  keptBytes += content.size;
  for (const oldest of kept.keys()) {
    if (keptBytes <= KEPT_BYTES || oldest === id) break;
    discard(oldest);
  }
}

/** Discard the preview of a record: nothing of a deleted record may stay in the tab. */
export function discard(id) {
  const content = kept.get(id);
  if (!content) return;
  kept.delete(id);
  keptBytes -= content.size;
}

const isPicture = (record) => Boolean(record.contenttype?.startsWith("image/"));
const isText = (record) => record.contenttype === "application/json";

const observed = new WeakMap();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) observed.get(target)?.(isIntersecting);
}, { rootMargin: "150px" });

/** Whether an element is in sight, or close to it. */
function useInSight(element) {
  const [inSight, setInSight] = useState(false);
  useEffect(() => {
    const target = element.current;
    observed.set(target, setInSight);
    observer.observe(target);
    return () => observer.unobserve(target);
  }, []);
  return inSight;
}

/**
 * The input of a record: a picture, or its features as text. Out of sight, it is not loaded, and not kept as an image.
 *
 * @param {{record: object}} props A record of a list.
 */
export function Preview({ record }) {
  const frame = useRef(null);
  const inSight = useInSight(frame);
  const [state, setState] = useState({});
  const picture = isPicture(record);
  useEffect(() => {
    if (!inSight || !(picture || isText(record))) return undefined;
    const controller = new AbortController();
    let url = null;
    load(record, controller.signal).then(async (content) => {
      const text = picture ? null : abridged(await content.text());
      if (controller.signal.aborted) return;
      if (picture) url = URL.createObjectURL(content);
      setState({ url, text });
    }).catch((problem) => { if (!controller.signal.aborted) setState({ problem }); });
    return () => {
      controller.abort();
      if (url) URL.revokeObjectURL(url);
      setState((before) => before.url ? {} : before);
    };
  }, [inSight, record.prediction_id]);
  const { url, text, problem, undecodable } = state;
  return html`
    <span class=${picture ? "preview pictured" : "preview"} ref=${frame}>
      ${url && !undecodable
        ? html`<img src=${url} alt="" onError=${() => setState({ undecodable: true })} />`
        : html`<span class="muted">${text ?? wordsOf(record, problem, undecodable)}</span>`}
    </span>`;
}

function wordsOf(record, problem, undecodable) {
  if (problem) return problem.status === 404 ? "no input" : "not loaded";
  if (!record.contenttype) return "no input";
  if (undecodable) return record.contenttype.slice("image/".length).toUpperCase();
  return isPicture(record) || isText(record) ? "" : record.contenttype;
}

/** Features as one line, with rounded numbers, and with their names if they have any. */
function abridged(content) {
  let features;
  try {
    features = JSON.parse(content);
  } catch {
    return clipped(content); // Only its beginning is loaded, or it is not JSON.
  }
  if (features === null || typeof features !== "object") return clipped(shown(features));
  const entries = Array.isArray(features)
    ? features.map(shown)
    : Object.entries(features).map(([name, value]) => `${name} ${shown(value)}`);
  return clipped(entries.join(BETWEEN));
}

const clipped = (text) => text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}…` : text;
