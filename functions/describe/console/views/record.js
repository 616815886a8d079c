/** One record: its input, the answer, the truth, and the actions on it. */

import { useId } from "preact/hooks";

import { Answer, inWords } from "../answer.js";
import { blob, get, parsed, send } from "../api.js";
import { newKey } from "../asking.js";
import { Ago, bytes, duration, moment, shown } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { inParts, inputPath, isOfServed, isPicture, Json, save, StoredInput } from "../input.js";
import { KeysButton, useKeys } from "../keys.js";
import { useLoad } from "../load.js";
import { filtersOf, following, preceding } from "../neighbours.js";
import { keyOf, post, truthOf, useOutbox } from "../outbox.js";
import { go, href } from "../route.js";
import { useServed } from "../served.js";
import { may, session } from "../session.js";
import { Failed, Loading, Notice } from "../states.js";
import { judgedBy, TruthChoice } from "../truth.js";

const POLL = 2000; // Milliseconds until a record that is not predicted yet is loaded again.

const earlier = new Map(); // The record before each that `j` led to: `k` leads back even if that has left the list.

export default function View({ query, parts }) {
  const [id] = parts;
  if (!id) return html`<h1>Record</h1><p>Which one? <a href=${href("records")}>See the records</a>.</p>`;
  return html`<${Record} key=${id} id=${id} filters=${filtersOf(query)} />`;
}

/** The text of a record as the server sent it, and the record. */
async function loaded(id, signal) {
  const text = await (await blob(`/prediction/${encodeURIComponent(id)}`, { signal })).text();
  return { text, record: parsed(text) };
}

function Record({ id, filters }) {
  const { value, problem, again } = useLoad((signal) => loaded(id, signal), [id]);
  const truths = useLoad((signal) => get(`/prediction/${encodeURIComponent(id)}/ground_truth`, {}, { signal }), [id]);
  const served = useServed().value;
  const outbox = useOutbox();
  const own = keyOf({ name: "prediction_id", value: id }); // An id can be written in several ways.
  const unsaved = outbox.own.findLast(({ key }) => key === own);
  const record = problem?.status === 404 ? undefined : value?.record; // It has been deleted meanwhile.
  const pending = record?.status === "queued" || record?.status === "processing";
  useEffect(() => {
    if (!pending) return undefined;
    const timer = setTimeout(again, POLL);
    return () => clearTimeout(timer);
  }, [value, problem, pending]);
  const wasUnsaved = useRef(false);
  useEffect(() => { // The truth may have been given before the page was loaded.
    if (wasUnsaved.current && !unsaved) {
      again();
      truths.again();
    }
    wasUnsaved.current = Boolean(unsaved);
  }, [unsaved]);
  return html`
    <header class="record-head">
      <h1>Record</h1>
      <p class="muted">${record ? html`${moment(record.created_at)}, <${Ago} time=${record.created_at} />` : id}</p>
    </header>
    ${problem && html`
      <${Failed} problem=${problem} again=${problem.status === 404 ? undefined : again} />
      ${problem.status === 404 && html`<p><a href=${href("records", [], filters)}>See the records</a></p>`}`}
    ${!record && !problem && html`<${Loading} what="the record" />`}
    ${record && html`
      <${Steps} record=${record} filters=${filters} />
      <div class="record">
        <section aria-labelledby="input-title">
          <h2 id="input-title">Input</h2>
          <${StoredInput} record=${record} zoom />
          <${Actions} record=${record} served=${served} filters=${filters} />
        </section>
        <div>
          <section aria-labelledby="answer-title">
            <h2 id="answer-title">Answer</h2>
            <${Answer} record=${record} served=${served} />
          </section>
          <${Truth} record=${record} served=${served} truths=${truths} unsaved=${unsaved}
            problem=${outbox.problem} />
        </div>
        <section aria-labelledby="facts-title">
          <h2 id="facts-title">Facts</h2>
          <${Facts} record=${record} served=${served} />
          <details>
            <summary>Raw JSON</summary>
            <${Json} value=${value.text} indent=${null} label="The record as the API answers it" />
          </details>
        </section>
      </div>`}`;
}

// --- The list that it was opened from ---

function Steps({ record, filters }) {
  const { prediction_id: id } = record;
  const search = JSON.stringify(filters);
  const next = useLoad((signal) => following(record, filters, { signal }), [id, search]);
  const [notice, setNotice] = useState("");
  const [problem, setProblem] = useState(null);
  const wanted = useRef(null); // The last request: the answer to an earlier one changes nothing.
  useEffect(() => () => wanted.current?.abort(), []);
  const step = async (find, none) => {
    wanted.current?.abort();
    const controller = wanted.current = new AbortController();
    setProblem(null);
    setNotice("Looking …");
    try {
      const found = await find(controller.signal);
      if (controller.signal.aborted) return null;
      setNotice(found ? "" : none);
      return found;
    } catch (error) {
      if (controller.signal.aborted) return null;
      setNotice("");
      setProblem(error);
      return null;
    }
  };
  const lead = (to) => to && go(href("record", [to], filters));
  const forward = async () => {
    const known = !next.loading && !next.problem && next.value;
    const find = (signal) => following(record, filters, { signal });
    const found = known || await step(find, "This is the last of the list.");
    if (!found) return;
    earlier.set(`${search} ${found.prediction_id}`, id);
    lead(found.prediction_id);
  };
  const back = async () => {
    const known = earlier.get(`${search} ${id}`);
    const find = (signal) => preceding(record, filters, { signal });
    lead(known ?? (await step(find, "This is the first of the list."))?.prediction_id);
  };
  useKeys({ j: ["the next record of the list", forward], k: ["the previous record of the list", back] });
  return html`
    <div class="buttons steps">
      <button type="button" onClick=${back}>Previous <kbd aria-hidden="true">k</kbd></button>
      <button type="button" onClick=${forward}>Next <kbd aria-hidden="true">j</kbd></button>
      <a href=${href("records", [], filters)}>${Object.keys(filters).length ? "The list" : "All records"}</a>
      <${KeysButton} />
      <span role="status" class="muted">${notice}</span>
    </div>
    ${problem && html`<${Failed} problem=${problem} />`}`;
}

// --- The truth ---

function Truth({ record, served, truths, unsaved, problem }) {
  const { prediction_id: id } = record;
  const [comment, setComment] = useState("");
  const [notice, setNotice] = useState("");
  const commentId = useId();
  const heading = useRef(null);
  const turn = useRef(0);
  const attempt = async (body, what, words) => {
    const own = ++turn.current;
    setNotice("");
    setComment("");
    const { stored } = await post([truthOf(id, body, what)]).done;
    if (own !== turn.current) return;
    if (stored.length > 0) setNotice(words);
    else setComment((typed) => typed || comment); // The frame says what is refused. The comment on it is not lost.
  };
  const withdraw = () => {
    heading.current.focus(); // The button goes away.
    attempt(null, `predicted ${inWords(record)}, truth taken back`, "The truth is withdrawn.");
  };
  const choose = (body) => {
    const truth = shown(body.label ?? body.value);
    const whole = comment.trim() ? { ...body, comment: comment.trim() } : body;
    return attempt(whole, `predicted ${inWords(record)}, truth ${truth}`, `The truth is ${truth}. Saved.`);
  };
  const isLabel = judgedBy(record, served) === "label";
  useKeys({
    c: isLabel && record.label !== undefined
      ? ["the prediction is correct", () => choose({ label: record.label })] : null,
  });
  return html`
    <section aria-labelledby="truth-title">
      <h2 id="truth-title" ref=${heading} tabindex="-1">Truth</h2>
      <${Current} record=${record} />
      <${TruthChoice} record=${record} served=${served} choose=${choose} />
      ${isLabel && record.label !== undefined && html`
        <p class="buttons">
          <button type="button" onClick=${() => choose({ label: record.label })}>
            Correct <kbd aria-hidden="true">c</kbd>
          </button>
        </p>`}
      <p>
        <label for=${commentId}>Comment on the truth that you give next</label>
        <input id=${commentId} value=${comment} maxlength="2000" autocomplete="off"
          onInput=${(event) => setComment(event.target.value)}
          onKeyDown=${(event) => { if (event.key === "Escape") event.target.blur(); }} />
      </p>
      <p role="status" class="muted">
        ${unsaved ? (problem ? `Not stored yet: ${unsaved.what}.` : "Saving …") : notice}
      </p>
      ${record.ground_truth !== undefined && html`
        <button type="button" onClick=${withdraw}>Withdraw the truth</button>`}
      <${History} truths=${truths} />
    </section>`;
}

function Current({ record }) {
  if (record.ground_truth === undefined) return html`<p class="muted">There is no ground truth yet.</p>`;
  const verdict = record.correct ? "right" : "wrong";
  return html`
    <p>The truth is <strong>${shown(record.ground_truth)}</strong>${record.correct !== undefined && html`
      : the prediction is <strong class=${verdict}>${verdict}</strong>`}.</p>`;
}

function History({ truths }) {
  const { value, problem, again } = truths;
  if (problem) return problem.status === 404 ? null : html`<${Failed} problem=${problem} again=${again} />`;
  if (!value?.history.length) return null;
  return html`
    <h3>History</h3>
    <ol class="history">
      ${value.history.map((entry) => html`
        <li key=${entry.given_at}>
          <strong>${entry.withdrawn ? "withdrawn" : shown(entry.ground_truth)}</strong>
          ${" "}<time datetime=${entry.given_at}>${moment(entry.given_at)}</time>
          ${by(entry) && ` by ${by(entry)}`}
          ${entry.comment !== undefined && html`<br /><q>${entry.comment}</q>`}
        </li>`)}
    </ol>`;
}

const by = ({ given_by: user, source, source_id: which }) =>
  [user, [source, which].filter(Boolean).join(" ")].filter(Boolean).join(", ");

// --- Actions ---

/** Whether the user may delete a record: by the scope, or as its owner. Without a scope, they see only their own. */
function mayDelete(record) {
  return may("predictions:delete-all") || !may("predictions:read-all") || session.user?.name === record.user_id;
}

function Actions({ record, served, filters }) {
  const [state, setState] = useState({ busy: "", problem: null, again: null, made: null });
  const key = useRef(newKey()); // Of the next prediction, so that it is not stored twice if its answer is lost.
  const isShown = useRef(true);
  useEffect(() => () => { isShown.current = false; }, []);
  const attempt = async (busy, action) => {
    if (state.busy) return; // The button is not disabled, because it would lose the focus.
    setState({ busy, problem: null, again: null, made: null });
    try {
      setState({ busy: "", problem: null, again: null, made: await action() ?? null });
    } catch (problem) {
      setState({ busy: "", problem, again: () => attempt(busy, action), made: null });
    }
  };
  const told = (loaded) => setState((before) => ({ ...before, busy: `Loading, ${bytes(loaded)} …` }));
  const download = async () => save(await inParts(inputPath(record), told), filenameOf(record));
  const predict = async () => {
    const made = await predictAgain(record, key.current);
    key.current = newKey();
    return made;
  };
  const remove = async () => {
    const next = await following(record, filters).catch(() => null);
    try {
      await send("DELETE", `/prediction/${record.prediction_id}`);
    } catch (problem) {
      if (problem.status !== 404) throw problem; // With 404, somebody else was faster.
    }
    for (const [to, from] of earlier) if (from === record.prediction_id) earlier.delete(to);
    if (!isShown.current) return; // The user has gone on to something else meanwhile.
    go(next ? href("record", [next.prediction_id], filters) : href("records", [], filters), { replace: true });
  };
  const { busy, problem, again, made } = state;
  return html`
    <p class="buttons">
      <button type="button" onClick=${() => attempt("Loading …", download)}>Download the input</button>
      ${canRepeat(record, served) && html`
        <button type="button" onClick=${() => attempt("Predicting …", predict)}>Predict again</button>`}
      ${mayDelete(record) && html`<${Delete} remove=${() => attempt("Deleting …", remove)} />`}
    </p>
    <p role="status" class="muted">${busy}</p>
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${made && html`<${Notice}>
      Predicted again: ${inWords(made)}, by ${made.model?.name} ${made.model?.version}. Stored as${" "}
      <a href=${href("record", [made.prediction_id])}>${made.prediction_id}</a>.
    <//>`}`;
}

function Delete({ remove }) {
  const dialog = useRef(null);
  const id = useId();
  const close = (event) => { if (event.target.returnValue === "delete") remove(); };
  const open = () => {
    dialog.current.returnValue = "";
    dialog.current.showModal();
  };
  return html`
    <button type="button" onClick=${open}>Delete</button>
    <dialog ref=${dialog} aria-labelledby=${id} onClose=${close}>
      <h2 id=${id}>Delete this record?</h2>
      <p>The record, its input and its truth are deleted for good.</p>
      <form method="dialog" class="buttons">
        <button value="">Keep it</button>
        <button value="delete" class="danger">Delete it</button>
      </form>
    </dialog>`;
}

const EXTENSIONS = { jpeg: "jpg", tiff: "tif" };

function filenameOf(record) {
  if (record.filename !== undefined) return record.filename;
  const [kind, form] = record.contenttype.split(";")[0].split("/");
  const extension = kind === "image" ? EXTENSIONS[form] ?? form : form === "json" ? "json" : "bin";
  return `${record.prediction_id}.${extension}`;
}

/** Whether the same input can be sent again to the served model. A binary request needs a header of its own. */
function canRepeat(record, served) {
  if (!served) return false;
  if (isPicture(record)) return served.takes === "image";
  if (record.request !== undefined) return record.model?.name === served.name;
  if (record.features !== undefined) return served.takes === "features";
  return record.inputs !== undefined && served.takes === "tensors";
}

/** Send the same input again: its bytes, or its numbers as text, as they were sent. Returns the new record. */
async function predictAgain(record, key) {
  const content = await inParts(inputPath(record));
  const headers = { "Idempotency-Key": key };
  if (isPicture(record)) {
    if (record.filename === undefined) {
      headers["Content-Type"] = record.contenttype;
      return send("POST", "/prediction", { body: content, headers });
    }
    const body = new FormData();
    body.append("file", new Blob([content], { type: record.contenttype }), record.filename);
    return send("POST", "/prediction", { body, headers });
  }
  headers["Content-Type"] = "application/json";
  const text = await content.text();
  if (record.request === undefined) {
    const member = record.features === undefined ? "inputs" : "features";
    return send("POST", "/prediction", { body: `{"${member}":${text}}`, headers });
  }
  const path = `/v2/models/${encodeURIComponent(record.model.name)}/infer`;
  const { parameters } = await send("POST", path, { body: text, headers });
  return get(`/prediction/${parameters.prediction_ids[0]}`);
}

// --- Details ---

function Facts({ record, served }) {
  const { model } = record;
  const isServed = isOfServed(record, served);
  const metadata = record.metadata && Object.keys(record.metadata).length > 0;
  const facts = [
    ["Status", record.status],
    ["Model", model && html`<a href=${href("models", [model.name, model.version])}>${model.name} ${model.version}</a>`],
    ["Model’s SHA-256", model && html`<${Hash} model=${model} served=${isServed ? served : null} />`],
    ["Created", html`<time datetime=${record.created_at}>${moment(record.created_at)}</time>`],
    ["Decoding and inference", record.duration_ms !== undefined && duration(record.duration_ms)],
    ["Decoding the input", record.decode_ms !== undefined && duration(record.decode_ms)],
    ["Running the model", record.inference_ms !== undefined && duration(record.inference_ms)],
    ["Waiting in the queue", record.queue_ms !== undefined && duration(record.queue_ms)],
    ["User", record.user_id],
    ["File", record.filename],
    ["Content type", record.contenttype],
    ["Declared content type", record.declared_contenttype],
    ["inference_id", record.inference_id !== undefined && html`
      <a href=${href("records", [], { inference_id: record.inference_id })}>${record.inference_id}</a>`],
    ["prediction_id", html`<code>${record.prediction_id}</code>`],
    ["input_id", html`<code>${record.input_id}</code>`],
    ["Metadata", metadata && html`<${Json} value=${record.metadata} indent=${2} label="Metadata" />`],
  ];
  return html`
    <dl class="facts">
      ${facts.filter(([, value]) => value).map(([name, value]) => html`
        <div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
}

/** The digest of what was served as a record's model and version: several, if its files were changed in place. */
function Hash({ model, served }) {
  const { value, problem } = useLoad(
    async (signal) => (served ? null : get("/models", {}, { signal })), [model.name, model.version, Boolean(served)]);
  if (served) return html`<code>${served.sha256}</code>`;
  if (problem) return html`<span class="muted">not loaded: ${problem.message}</span>`;
  const version = value?.models.find((one) => one.name === model.name && one.version === model.version);
  if (!version) return html`<span class="muted">${value ? "not known" : "…"}</span>`;
  return version.sha256.map((one) => html`<code key=${one}>${one}</code> `);
}
