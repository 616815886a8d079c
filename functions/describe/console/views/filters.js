/** The filters of a list of records: each is a member of the URL's query, by the API's name. */

import { useId } from "preact/hooks";

import { get } from "../api.js";
import { Histogram } from "../charts.js";
import { count, moment, percent } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { useLoad } from "../load.js";
import { setQuery } from "../route.js";
import { useServed } from "../served.js";
import { Failed, Loading } from "../states.js";
import { spanOf } from "./model_span.js";

const MOST_OPTIONS = 100; // The most options of a list to choose from. With more, the user types.
const HOUR = 3_600_000;
const SETTLED = 300; // Milliseconds after which a handle counts as left alone.
const SPANS = { 1: "Last hour", 24: "Last 24 hours", 168: "Last 7 days", 720: "Last 30 days" };
const STATUSES = ["succeeded", "failed", "queued", "processing"];
const JUDGED = {
  right: ["Right", { correct: "true", has_ground_truth: null }],
  wrong: ["Wrong", { correct: "false", has_ground_truth: null }],
  judged: ["With a ground truth", { correct: null, has_ground_truth: "true" }],
  unjudged: ["Without a ground truth", { correct: null, has_ground_truth: "false" }],
};

/** The filters that the statistics have too. */
export const COUNTED = ["model", "version", "since", "until"];

/** Load the statistics of a query, as `useLoad` does, if `wanted`. */
export function useCounts(query, wanted) {
  const asked = { model: query.get("model"), version: query.get("version"), ...spanOf(query) };
  const load = async (signal) => {
    if (!wanted) return null;
    return get("/statistics", { ...asked, group_by: "user_id" }, { signal });
  };
  return useLoad(load, [wanted, JSON.stringify(asked)]);
}

/** Change a filter: the list follows. A choice is a step that Back undoes, what is typed over another value is not. */
const choose = (changes) => setQuery(changes);

/**
 * All filters.
 *
 * @param {{query: URLSearchParams, counts: object, ready: boolean}} props `counts`: as returned by `useCounts`.
 *   `ready`: whether the filters may load anything.
 */
export function Filters({ query, counts, ready }) {
  const served = useServed().value;
  const load = async (signal) => ready ? get("/models", {}, { signal }) : null;
  const models = useLoad(load, [ready]).value?.models ?? [];
  const { value: statistics, problem, loading, again } = counts;
  const total = statistics?.total;
  const names = [...new Set(models.map((one) => one.name))];
  const versions = models.filter((one) => one.name === (query.get("model") ?? one.name)).map((one) => one.version);
  const labels = withCounts(served?.labels ?? [], total?.labels);
  const users = (total?.groups ?? []).map((group) => [group.user_id, group.count]);
  return html`
    <form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
      <${Times} query=${query} />
      <${Choice} query=${query} name="model" label="Model" options=${names.map((name) => [name])} resets="version" />
      <${Choice} query=${query} name="version" label="Version"
        options=${[...new Set(versions)].map((version) => [version])} />
      <${Choice} query=${query} name="label" label="Predicted label" options=${labels} />
      <${Judged} query=${query} />
      <${Choice} query=${query} name="ground_truth" label="Ground truth"
        options=${labels.map(([label]) => [label])} />
      <${Confidence} query=${query} histogram=${total?.confidence.histogram} />
      <${Choice} query=${query} name="status" label="Status"
        options=${STATUSES.map((status) => [status, total?.statuses[status]])} />
      <${Choice} query=${query} name="user_id" label="User" options=${users} typed />
      <${Text} query=${query} name="inference_id" label="inference_id" />
      ${ready && loading && !statistics && html`<${Loading} what="counts" />`}
      ${problem && html`<${Failed} problem=${problem} again=${again} />`}
      ${statistics && html`
        <p class="muted counted">Counts: ${statistics.of === "yours" ? "your records" : "all records"}
          ${" "}of ${statistics.model ?? "every model"} ${statistics.version}
          ${" "}from ${moment(statistics.since)} to ${moment(statistics.until)}.</p>`}
    </form>`;
}

/** The labels of the model and those that were counted, the latter with their counts. */
function withCounts(labels, counts = {}) {
  return [...new Set([...labels, ...Object.keys(counts)])].map((label) => [label, counts[label] ?? null]);
}

const named = ([value, number]) => typeof number === "number" ? `${value} (${count(number)})` : value;

/** A choice of one value, each with its count. It is typed if there are many, or if not all are known. */
function Choice({ query, name, label, options, typed = false, resets = name }) {
  const id = useId();
  const value = query.get(name) ?? "";
  if (typed || options.length > MOST_OPTIONS) {
    return html`<${Text} query=${query} name=${name} label=${label} suggestions=${options} />`;
  }
  const missing = value && !options.some(([option]) => option === value);
  return html`
    <div>
      <label for=${id}>${label}</label>
      <select id=${id} value=${value} onChange=${(event) => choose({ [resets]: null, [name]: event.target.value })}>
        <option value="">Any</option>
        ${missing && html`<option value=${value}>${value}</option>`}
        ${options.map((option) => html`<option key=${option[0]} value=${option[0]}>${named(option)}</option>`)}
      </select>
    </div>`;
}

/** A text field, which takes effect when the user leaves it or presses Enter. */
function Text({ query, name, label, suggestions = [] }) {
  const id = useId();
  const value = query.get(name) ?? "";
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return html`
    <div>
      <label for=${id}>${label}</label>
      <input id=${id} value=${text} autocomplete="off" list=${suggestions.length ? `${id}-list` : undefined}
        onInput=${(event) => setText(event.target.value)}
        onChange=${(event) => choose({ [name]: event.target.value.trim() })} />
      ${suggestions.length > 0 && html`
        <datalist id="${id}-list">
          ${suggestions.map((option) => html`<option key=${option[0]} value=${option[0]}>${named(option)}</option>`)}
        </datalist>`}
    </div>`;
}

function Judged({ query }) {
  const id = useId();
  const correct = query.get("correct");
  const has = query.get("has_ground_truth");
  const value = { true: "right", false: "wrong" }[correct] ?? { true: "judged", false: "unjudged" }[has] ?? "";
  const none = { correct: null, has_ground_truth: null };
  return html`
    <div>
      <label for=${id}>Right or wrong</label>
      <select id=${id} value=${value} onChange=${(event) => choose(JUDGED[event.target.value]?.[1] ?? none)}>
        <option value="">Any</option>
        ${Object.entries(JUDGED).map(([key, [words]]) => html`<option key=${key} value=${key}>${words}</option>`)}
      </select>
    </div>`;
}

function Times({ query }) {
  const id = useId();
  const since = query.get("since") ?? "";
  const until = query.get("until") ?? "";
  const last = (hours) => ({ since: new Date(Date.now() - hours * HOUR).toISOString(), until: null });
  const chosen = (event) => {
    const hours = event.target.value;
    event.target.value = "";
    choose(hours === "any" ? { since: null, until: null } : last(Number(hours)));
  };
  return html`
    <div>
      <label for=${id}>Time</label>
      <select id=${id} value="" onChange=${chosen}>
        <option value="" disabled>Choose a span</option>
        <option value="any">Any time</option>
        ${Object.entries(SPANS).map(([hours, words]) => html`<option key=${hours} value=${hours}>${words}</option>`)}
      </select>
    </div>
    <${Moment} name="since" label="From" value=${since} />
    <${Moment} name="until" label="Before" value=${until} />`;
}

function Moment({ name, label, value }) {
  const id = useId();
  const field = useRef(null);
  const begun = useRef(""); // The value as the browser writes it, which leaves out seconds that are 0.
  useEffect(() => {
    field.current.value = local(value);
    begun.current = field.current.value;
  }, [value]);
  const changed = (event) => {
    const { validity, value: typed } = event.target;
    if (validity.badInput || typed === begun.current) return; // Half of it is typed, or nothing.
    choose({ [name]: typed && new Date(typed).toISOString() });
  };
  return html`
    <div>
      <label for=${id}>${label}</label>
      <input id=${id} ref=${field} type="datetime-local" step="1" onBlur=${changed}
        onKeyDown=${(event) => { if (event.key === "Enter") changed(event); }} />
    </div>`;
}

/** A time of the API as a field has it: local, to the second. */
function local(time) {
  const at = new Date(time);
  if (!time || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** The bounds of the confidence: two handles over its histogram. */
function Confidence({ query, histogram }) {
  const given = [share(query.get("min_confidence"), 0), share(query.get("max_confidence"), 1)];
  const [bounds, setBounds] = useState(given);
  useEffect(() => setBounds(given), given);
  const [low, high] = bounds;
  const move = (index) => (event) => {
    const at = Number(event.target.value);
    setBounds(index === 0 ? [Math.min(at, high), high] : [low, Math.max(at, low)]);
  };
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const settle = () => {
    clearTimeout(timer.current); // While an arrow key is held down, only the last value counts.
    timer.current = setTimeout(() => choose({
      min_confidence: low > 0 ? low : null,
      max_confidence: high < 1 ? high : null,
    }), SETTLED);
  };
  const handle = (index, label) => html`
    <input type="range" min="0" max="1" step="0.01" aria-label=${label} value=${bounds[index]}
      aria-valuetext=${percent(bounds[index])} style=${{ zIndex: index === 0 && low > 0.5 ? 2 : 1 }}
      onInput=${move(index)} onChange=${settle} />`; // At the right end, the lower handle must not lie under the upper.
  const bins = (histogram ?? []).map((number, index) => ({
    from: index / histogram.length, to: (index + 1) / histogram.length, count: number,
  }));
  return html`
    <fieldset class="confidence">
      <legend>Confidence</legend>
      ${bins.length > 0 && html`<${Histogram} label="Confidence" bins=${bins} chosen=${bounds} />`}
      <div class="two-handles">${handle(0, "Least confidence")}${handle(1, "Most confidence")}</div>
      <p class="muted">${percent(low)} to ${percent(high)}</p>
    </fieldset>`;
}

function share(text, otherwise) {
  const value = text === null || text === "" ? otherwise : Number(text);
  return Number.isFinite(value) ? Math.max(0, Math.min(1, value)) : otherwise;
}

const WORDS = {
  has_ground_truth: { true: "with a ground truth", false: "without a ground truth" },
  correct: { true: "right", false: "wrong" },
};
const NAMES = {
  model: "model", version: "version", label: "predicted", ground_truth: "truth", min_confidence: "confidence from",
  max_confidence: "confidence to", since: "from", until: "before", user_id: "user", status: "status",
};

/** A filter in words: "predicted 7". A parameter that the API does not know is shown as it is; the API refuses it. */
function inWords(name, value) {
  if (WORDS[name]?.[value]) return WORDS[name][value];
  if (name.endsWith("_confidence") && value !== "" && Number.isFinite(Number(value))) {
    return `${NAMES[name]} ${percent(Number(value))}`;
  }
  const time = (name === "since" || name === "until") && !Number.isNaN(Date.parse(value));
  return `${NAMES[name] ?? name} ${time ? moment(value) : value}`;
}

/** The filters that are set, each with a button that removes it. */
export function Chosen({ query, except }) {
  const set = [...query].filter(([name, value]) => value !== "" && !except.includes(name));
  if (!set.length) return null;
  const none = Object.fromEntries(set.map(([name]) => [name, null]));
  return html`
    <ul class="chosen" role="list" aria-label="Filters that are set">
      ${set.map(([name, value]) => html`
        <li key=${name}>
          <button type="button" aria-label="Remove the filter: ${inWords(name, value)}"
            onClick=${() => choose({ [name]: null })}>${inWords(name, value)}${" "}<span aria-hidden="true">×</span>
          </button>
        </li>`)}
      ${set.length > 1 && html`
        <li><button type="button" onClick=${() => choose(none)}>Remove all</button></li>`}
    </ul>`;
}
