/** Exports the records that a filter shows, page by page, as CSV or JSON Lines. */

import { blob, notOurs, parsed } from "./api.js";
import { rowOf } from "./csv.js";
import { count as counted } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { elements, parsedExactly } from "./json_list.js";
import { useServed } from "./served.js";
import { Failed } from "./states.js";

const PAGE = 1000; // the most that the API answers at once
const AT_ONCE = 6; // requests for single records, as many as a browser sends to one server
const FORMATS = {
  csv: { name: "CSV", extension: "csv", type: "text/csv" },
  lines: { name: "JSON Lines", extension: "jsonl", type: "application/x-ndjson" },
};
const ABOUT = {
  csv: "What a spreadsheet would take for a formula gets an apostrophe before it.",
  lines: "Each line is a record as the API answers it.",
};
const FIRST = [
  "prediction_id",
  "created_at",
  "status",
  "model",
  "version",
  "label",
  "confidence",
  "predicted_value",
  "ground_truth",
  "correct",
];
const LAST = [
  "prediction",
  "outputs",
  "user_id",
  "inference_id",
  "filename",
  "contenttype",
  "duration_ms",
  "decode_ms",
  "inference_ms",
  "queue_ms",
  "error",
  "metadata",
];

/** A form that saves the records of `path` that `query` finds. `count` is how many, or null if nobody knows. */
export function Export({ path, query, count = null }) {
  const { value: served } = useServed();
  const [format, setFormat] = useState("csv");
  const [inputs, setInputs] = useState(false);
  const [, render] = useState(0);
  const run = useRef(null);
  useEffect(() => () => run.current?.cancel(), []);
  const start = async (event) => {
    event.preventDefault();
    const out = await fileFor(FORMATS[format]);
    if (out === null) return;
    run.current = new Run({
      path,
      query,
      format,
      inputs: inputs && canHaveInputs(served),
      labels: served?.labels,
      count,
      out,
      tell: () => render((before) => before + 1),
    });
    run.current.go();
  };
  const { running = false, problem = null } = run.current ?? {};
  const busy = running || problem !== null;
  return html`<details class="export"><summary>Export</summary>
    <form onSubmit=${start}>
      <p><label>Format <select value=${format} disabled=${busy} onChange=${(event) => setFormat(event.target.value)}>
        ${Object.entries(FORMATS).map(([key, { name }]) => html`<option value=${key}>${name}</option>`)}
      </select></label></p>
      ${canHaveInputs(served) && html`<p><label>
        <input type="checkbox" checked=${inputs} disabled=${busy} onChange=${() => setInputs(!inputs)} />
        ${" "}With the inputs, which takes a request for each record
      </label></p>`}
      <p class="muted">${ABOUT[format]}</p>
      <p class="buttons"><button disabled=${busy}>Export ${count === null ? "the records" : records(count)}</button>
        ${busy && html`<button type="button" onClick=${() => run.current.cancel()}>Cancel</button>`}</p>
    </form>
    ${run.current && html`<${Shown} run=${run.current} />`}
  </details>`;
}

const records = (many) => `${counted(many)} ${many === 1 ? "record" : "records"}`;
const canHaveInputs = (served) => Boolean(served) && served.takes !== "image"; // an image is no cell of a table

function Shown({ run }) {
  const { running, problem, done, count, name, cancelled, told } = run;
  const part = count ? Math.min(done / count, 1) : undefined; // without a value, the bar only says that it goes on
  const ended = cancelled ? "Cancelled: nothing was saved." : `Exported ${records(done)} to ${name}.`;
  return html`
    ${running && html`<progress aria-label="Records exported" value=${part} max="1"></progress>`}
    <p role="status">${running || problem ? `${records(done)} so far.` : ended} ${told()}</p>
    ${problem && html`<${Failed} problem=${problem} again=${() => run.go()} />`}`;
}

/** Open the target of an export: a file on disk if the browser can write one, else a file that it saves at the end. */
async function fileFor({ name: format, extension, type }) {
  const name = `predictions-${new Date().toISOString().slice(0, 10)}.${extension}`;
  if (window.showSaveFilePicker) {
    try {
      const handle = await window.showSaveFilePicker({
        suggestedName: name,
        types: [{ description: format, accept: { [type]: [`.${extension}`] } }],
      });
      const stream = await handle.createWritable();
      return {
        name: handle.name,
        write: (text) => stream.write(text),
        close: () => stream.close(),
        discard: () => stream.abort().catch(() => {}),
      };
    } catch (error) {
      if (error.name === "AbortError") return null; // no file was chosen
    }
  }
  const parts = [];
  return {
    name,
    write: (text) => parts.push(new Blob([text])), // the browser may keep them on the disk
    close: () => download(new Blob(parts, { type }), name),
    discard: () => parts.splice(0),
  };
}

function download(content, name) {
  const url = URL.createObjectURL(content);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // some browsers begin late
}

/** One export. If the connection breaks it stops, and can go on from there. */
class Run {
  constructor({ path, query, format, inputs, labels, count, out, tell }) {
    const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query ?? {});
    const asked = entries.filter(
      ([name, value]) => !["cursor", "limit"].includes(name) && value !== null && value !== undefined && value !== "",
    );
    Object.assign(this, {
      path,
      asked,
      inputs,
      count,
      out,
      tell,
      name: out.name,
      cursor: null,
      done: 0,
      harmless: 0,
      without: 0,
    });
    Object.assign(this, { running: false, problem: null, cancelled: false, first: true });
    this.table = format === "csv" ? new Table(labels, inputs) : null;
    this.told = () =>
      [
        this.harmless > 0 &&
          `${counted(this.harmless)} of its cells would be formulas: an apostrophe stands before them.`,
        this.table?.homeless > 0 &&
          `${records(this.table.homeless)} had features without a column: JSON Lines has all of them.`,
        this.without > 0 && `${records(this.without)} had been deleted before their inputs were asked for.`,
      ]
        .filter(Boolean)
        .join(" ");
  }

  async go() {
    this.stopping = new AbortController();
    Object.assign(this, { running: true, problem: null });
    this.tell();
    try {
      for (; this.first || this.cursor !== null; this.first = false) {
        const { found, next } = await this.#page();
        await this.out.write(this.#written(found));
        this.done += found.length;
        this.cursor = next;
        this.tell();
        this.stopping.signal.throwIfAborted();
      }
      await this.out.close();
    } catch (problem) {
      if (problem.name !== "AbortError" || !this.cancelled) this.problem = problem;
    }
    this.running = false;
    this.tell();
  }

  cancel() {
    const open = this.running || this.problem !== null;
    if (!open) return;
    Object.assign(this, { cancelled: true, problem: null });
    this.stopping.abort();
    this.out.discard();
    this.tell();
  }

  async #page() {
    const query = new URLSearchParams([
      ...this.asked,
      ["limit", PAGE],
      ...(this.cursor === null ? [] : [["cursor", this.cursor]]),
    ]);
    const text = await this.#text(`${this.path}?${query}`);
    const { predictions, next_cursor: next = null } = parsed(text);
    if (!Array.isArray(predictions)) throw notOurs();
    const found = [...elements(text, text.indexOf("["))].map(({ start, end }) => text.slice(start, end));
    if (this.inputs) await this.#withInputs(found);
    return { found, next };
  }

  async #withInputs(found) {
    const left = found.keys();
    const one = async () => {
      for (const at of left) {
        const { prediction_id: id, contenttype } = JSON.parse(found[at]);
        if (!contenttype.startsWith("image/")) found[at] = await this.#record(id, found[at]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  }

  async #record(id, listed) {
    try {
      const text = await this.#text(`/prediction/${id}`);
      parsed(text);
      return text;
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      this.without += 1;
      return listed;
    }
  }

  async #text(path) {
    return (await blob(path, { signal: this.stopping.signal })).text();
  }

  #written(found) {
    // An input is as it was sent and may have several lines; a line break is never within a string of JSON.
    if (this.table === null) return found.map((text) => `${text.replaceAll(/[\r\n]+/g, " ")}\n`).join("");
    const { text, changed } = this.table.rows(found.map(parsedExactly));
    this.harmless += changed;
    return text;
  }
}

/** Rows of a CSV. Its columns are those of the first page. */
class Table {
  constructor(labels, inputs) {
    this.labels = Array.isArray(labels) ? labels : [];
    this.last = inputs ? [...LAST, "inputs", "request"] : LAST;
    this.features = null;
    this.homeless = 0;
  }

  rows(found) {
    const head = this.features === null ? this.#head(found) : "";
    let changed = 0;
    const texts = found.map((record) => {
      const row = rowOf(this.#cells(record));
      changed += row.changed;
      return row.text;
    });
    return { text: head + texts.join(""), changed };
  }

  #head(found) {
    this.scores = found.some((record) => this.#hasScores(record)) ? this.labels : [];
    this.features = [...new Set(found.flatMap(({ features }) => Object.keys(features ?? {})))];
    const names = [
      ...FIRST,
      ...this.scores.map((label) => `scores.${label}`),
      ...this.features.map((name) => `features.${name}`),
      ...this.last,
    ];
    return `\ufeff${rowOf(names).text}`; // with the mark, spreadsheets know that it is UTF-8
  }

  #hasScores({ prediction, label }) {
    return Array.isArray(prediction) && prediction.length === this.labels.length && this.labels.includes(label);
  }

  #cells(record) {
    const { model, prediction, features = {} } = record;
    const scored = this.scores.length > 0 && this.#hasScores(record);
    if (Object.keys(features).some((name) => !this.features.includes(name))) this.homeless += 1;
    const one = { ...record, model: model?.name, version: model?.version, prediction: scored ? null : prediction };
    return [
      ...FIRST.map((name) => one[name]),
      ...this.scores.map((_, at) => (scored ? prediction[at] : null)),
      ...this.features.map((name) => features[name]),
      ...this.last.map((name) => one[name]),
    ];
  }
}
