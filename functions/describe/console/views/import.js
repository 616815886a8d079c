/** Import a file of ground truths, which is checked before any of it is written. */

import { send } from "../api.js";
import { bytes, count } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { href } from "../route.js";
import { useServed } from "../served.js";
import { Failed } from "../states.js";
import { columnsOf, look, MEMBERS, wrongWith } from "../truth_file.js";
import { Job, OUTCOMES } from "../truth_job.js";

const ACCEPTED = ".csv,.tsv,.txt,.json,.jsonl,.ndjson,text/csv,application/json,application/x-ndjson";
const NO_FAULT = ["new", "changed", "same", "repeated"];
const WRITTEN = ["new", "changed"];

// The state outlives the view: a user who looks at a record meanwhile finds the import as it was.
const NOTHING = { file: null, layout: null, columns: null, problem: null, job: null };
let state = NOTHING;
const listeners = new Set();

function change(changes) {
  state = { ...state, ...changes };
  for (const listener of listeners) listener();
}

let due = false; // a job changes more often than anybody can read

function renderSoon() {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    change({});
  }, 50);
}

function useImport() {
  const [, render] = useState(0);
  useEffect(() => {
    const listener = () => render((before) => before + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}

const ask = (truths, { signal }) =>
  send("POST", "/ground_truth", {
    body: truths,
    headers: { "Content-Type": "application/x-ndjson" },
    query: { dry_run: "true" },
    signal,
  });

addEventListener("beforeunload", (event) => state.job?.running && event.preventDefault());

async function take(files, task) {
  if (files.length === 0 || state.job?.running) return;
  const [file] = files;
  change({ ...NOTHING, file });
  if (files.length > 1) {
    change({ problem: new Error(`These are ${files.length} files: choose one after the other.`) });
    return;
  }
  try {
    const layout = await look(file);
    if (state.file !== file) return; // another was chosen meanwhile
    const columns = layout.header ? columnsOf(layout.header.names, task) : null;
    change({ layout, columns });
    if (columns === null || wrongWith(columns) === null) check();
  } catch (problem) {
    if (state.file === file) change({ problem });
  }
}

function check() {
  const { file, layout, columns } = state;
  const job = new Job(file, layout, columns, { ask, tell: () => state.job === job && renderSoon() });
  change({ job });
  job.run();
}

function useFiles(task) {
  const [over, setOver] = useState(false);
  const current = useRef();
  current.current = task;
  useEffect(() => {
    const dragged = (event) => {
      event.preventDefault(); // or the browser would open the file in place of this page
      setOver(event.type === "dragover");
      if (event.type === "drop") take([...event.dataTransfer.files], current.current);
    };
    const pasted = (event) => {
      if (event.target.closest?.("input, textarea, select")) return;
      const [file] = event.clipboardData.files;
      const text = event.clipboardData.getData("text");
      if (file) take([file], current.current);
      else if (text.includes("\n")) take([new File([text], "pasted lines")], current.current);
    };
    const all = { dragover: dragged, dragleave: dragged, drop: dragged, paste: pasted };
    for (const [name, listener] of Object.entries(all)) addEventListener(name, listener);
    return () => Object.entries(all).forEach(([name, listener]) => removeEventListener(name, listener));
  }, []);
  return over;
}

export default function View() {
  const { file, layout, columns, problem, job } = useImport();
  const { value: served } = useServed();
  const over = useFiles(served?.task);
  const chosen = (event) => {
    const [one] = event.target.files;
    event.target.value = ""; // so that the same file can be chosen again
    if (one) take([one], served?.task);
  };
  return html`<h1>Import</h1>
    <section class=${over ? "import-drop over" : "import-drop"}>
      <p>Say what predictions should have been: a CSV whose first line names the columns, JSON Lines, or JSON. Nothing
        is written before you have seen what would become of each line.</p>
      <p><label>File of ground truths
        ${" "}<input type="file" accept=${ACCEPTED} disabled=${job?.running} onChange=${chosen} /></label></p>
      <p class="muted">Or drop it here, or paste lines. The columns are <code>prediction_id</code>
        ${" "}or <code>inference_id</code>, <code>label</code> or <code>value</code>, and if you like
        ${" "}<code>source</code>, <code>source_id</code>, <code>comment</code>.</p>
    </section>
    ${
      file &&
      html`<section aria-labelledby="import-file">
      <h2 id="import-file">${file.name}</h2>
      <p class="muted">${[bytes(file.size), layout && described(layout)].filter(Boolean).join(", ")}</p>
      ${problem && html`<${Failed} problem=${problem} />`}
      ${columns && !job && html`<${Columns} names=${layout.header.names} columns=${columns} />`}
      ${job && html`<${Progress} job=${job} />`}
      ${columns && job && html`<${Used} names=${layout.header.names} columns=${columns} job=${job} />`}
    </section>`
    }
    ${job && job.total > 0 && html`<${Found} key=${file} job=${job} />`}`;
}

function described({ format, encoding, separator }) {
  const separated = { ",": "commas", ";": "semicolons", "\t": "tabs" }[separator] ?? separator;
  return [format, separator && `separated by ${separated}`, encoding !== "utf-8" && encoding.toUpperCase()]
    .filter(Boolean)
    .join(", ");
}

function Columns({ names, columns }) {
  const wrong = wrongWith(columns);
  const set = (at, name) => change({ columns: columns.map((one, other) => (other === at ? name || null : one)) });
  return html`<form onSubmit=${(event) => {
    event.preventDefault();
    if (!wrong) check();
  }}>
    <fieldset class="import-columns"><legend>The columns of the file</legend>
      ${names.map((name, at) => html`<div key=${at}>
        <label for=${`column-${at}`}>${name || `column ${at + 1}`}</label>
        ${" "}<select id=${`column-${at}`} value=${columns[at] ?? ""} onChange=${(event) => set(at, event.target.value)}>
          <option value="">not used</option>
          ${MEMBERS.map((member) => html`<option value=${member}>${member}</option>`)}
        </select>
      </div>`)}
    </fieldset>
    ${wrong && html`<p role="status">${wrong}</p>`}
    <p class="buttons"><button class="main" disabled=${wrong !== null}>Check the lines</button></p>
  </form>`;
}

function Used({ names, columns, job }) {
  const used = names.flatMap((name, at) =>
    columns[at] && columns[at] !== name ? [`${columns[at]} is “${name}”`] : [],
  );
  const unused = names.filter((_, at) => columns[at] === null);
  if (unused.length > 0) used.push(`not used: ${unused.map((name) => `“${name}”`).join(", ")}`);
  return html`<p class="buttons">${used.length > 0 && html`<span class="muted">${used.join("; ")}</span>`}
    <button type="button" disabled=${job.running} onClick=${() => change({ job: null })}>Choose the columns</button>
  </p>`;
}

const JUDGED = href("records", [], { has_ground_truth: "true" });
const DOING = { checking: "Checking", checked: "Checked", writing: "Writing", written: "Written" };

function Progress({ job }) {
  const { phase, running, problem, broken } = job;
  const writing = phase === "writing" || phase === "written";
  const stopped = !running && phase.endsWith("ing") && (!problem || problem.kind === "signed out");
  const doing = writing ? "Lines written" : "File read";
  const done = writing ? job.written + job.counts.failed : job.read;
  const most = writing ? job.wanted : job.file.size;
  return html`
    ${(running || problem) && html`<progress aria-label=${doing} value=${done} max=${most || 1}></progress>`}
    <p role="status">${said(job, writing)}</p>
    ${problem && html`<${Failed} problem=${problem} again=${broken ? null : () => job.run()} />`}
    ${problem?.kind === "signed out" && html`<p>Sign in, and then go on.</p>`}
    <p class="buttons">
      ${running && html`<button type="button" onClick=${() => job.stop()}>Stop</button>`}
      ${stopped && html`<button type="button" onClick=${() => job.run()}>Go on</button>`}
      ${phase.endsWith("ed") && html`<button type="button" onClick=${check}>Check again</button>`}
      ${phase === "written" && html`<a href=${JUDGED}>See the records with a ground truth</a>`}
    </p>`;
}

function said(job, writing) {
  const { phase, running, total, counts } = job;
  const stopped = phase.endsWith("ing") && !running ? `Stopped. ${writing ? "Writing" : "Checking"}` : DOING[phase];
  if (!writing)
    return total === 0 && phase === "checked" ? "The file has no ground truth." : `${stopped}: ${lines(total)}.`;
  const failed = counts.failed > 0 ? ` ${lines(counts.failed)} refused.` : "";
  const changed = `${count(job.changed)} ${job.changed === 1 ? "prediction" : "predictions"} changed`;
  return `${stopped}: ${count(job.written)} of ${lines(job.wanted)}, ${changed}.${failed}`;
}

const lines = (many) => `${count(many)} ${many === 1 ? "line" : "lines"}`;

/** The result of the check: how many lines of each kind, which ones, and which to write. */
function Found({ job }) {
  const { counts, phase } = job;
  const found = Object.keys(OUTCOMES).filter((outcome) => counts[outcome] > 0);
  const faults = found.filter((outcome) => !NO_FAULT.includes(outcome));
  const [chosen, show] = useState(null);
  const shown = found.includes(chosen) ? chosen : (faults[0] ?? found[0]);
  return html`<section aria-labelledby="import-found">
    <h2 id="import-found">What ${phase === "written" ? "became" : "would become"} of the lines</h2>
    <div class="import-outcomes" role="group" aria-label="Lines to show">
      ${found.map(
        (
          outcome,
        ) => html`<button key=${outcome} type="button" aria-pressed=${outcome === shown} onClick=${() => show(outcome)}>
        <span class=${NO_FAULT.includes(outcome) ? "" : "wrong"}>${OUTCOMES[outcome]}</span>
        ${" "}<strong>${count(counts[outcome])}</strong>
      </button>`,
      )}
    </div>
    ${phase === "checked" && html`<${Write} job=${job} />`}
    ${shown && html`<${Lines} outcome=${shown} many=${counts[shown]} some=${job.lines[shown]} />`}
  </section>`;
}

function Write({ job }) {
  const { counts } = job;
  const [left, leave] = useState([]);
  const toggle = (outcome) =>
    leave(left.includes(outcome) ? left.filter((one) => one !== outcome) : [...left, outcome]);
  const outcomes = WRITTEN.filter((outcome) => counts[outcome] > 0 && !left.includes(outcome));
  const many = outcomes.reduce((sum, outcome) => sum + counts[outcome], 0);
  const refused = Object.keys(OUTCOMES).reduce(
    (sum, outcome) => sum + (NO_FAULT.includes(outcome) ? 0 : counts[outcome]),
    0,
  );
  const box = (outcome, label) =>
    counts[outcome] > 0 &&
    html`<p><label><input type="checkbox" checked=${!left.includes(outcome)}
    onChange=${() => toggle(outcome)} /> ${label}</label></p>`;
  if (counts.new + counts.changed === 0) return html`<p>There is nothing to write.</p>`;
  return html`<form onSubmit=${(event) => {
    event.preventDefault();
    if (many > 0) job.write(outcomes);
  }}>
    ${box("new", `Write what is new: ${lines(counts.new)}`)}
    ${box("changed", `Replace what is said now: ${lines(counts.changed)}; the history keeps both`)}
    ${refused > 0 && html`<p class="wrong">${lines(refused)} cannot be written, and will be left out.</p>`}
    <p class="buttons"><button class="main" disabled=${many === 0}>Write ${lines(many)}</button></p>
  </form>`;
}

function Lines({ outcome, many, some }) {
  const first = some.length < many ? `the first ${count(some.length)} of ` : "";
  const has = (name) => some.some((one) => one[name] !== undefined && one[name] !== null);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="The lines"><table>
    <caption class="muted">${OUTCOMES[outcome]}: ${first}${lines(many)}</caption>
    <thead><tr>
      <th class="number">Line</th><th>Prediction</th><th>Truth</th>
      ${has("current") && html`<th>Now</th>`}${has("detail") && html`<th>Why</th>`}
    </tr></thead>
    <tbody>${[...some].sort((one, other) => one.line - other.line).map(
      (one) => html`<tr key=${one.line}>
      <td class="number">${one.line}</td>
      <td><${Of} id=${one.id} /></td>
      <td>${brief(one.truth)}</td>
      ${has("current") && html`<td>${now(one, outcome)}</td>`}
      ${has("detail") && html`<td>${one.detail}</td>`}
    </tr>`,
    )}</tbody>
  </table></div>`;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function Of({ id }) {
  if (id === null) return "–";
  if (id.name === "inference_id")
    return html`<a href=${href("records", [], { inference_id: id.value })}>${brief(id.value)}</a>`;
  return UUID.test(id.value)
    ? html`<a href=${href("record", [id.value.toLowerCase()])}><code>${id.value}</code></a>`
    : brief(id.value);
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function brief(value) {
  if (value === null || value === undefined) return "–";
  const whole = text(value);
  return whole.length > 100 ? `${whole.slice(0, 100)}…` : whole;
}

function now({ truth, current }, outcome) {
  if (current === null || current === undefined) return "–";
  return outcome === "changed" && text(current) === truth
    ? `${brief(current)}, from another source or with another comment`
    : brief(current);
}
