/** How inputs and answers differ from a baseline: what `GET …/drift` answers. */

import { Multiples, Table } from "../charts.js";
import { count, number, percent } from "../format.js";
import { html } from "../html.js";
import { setQuery } from "../route.js";
import { TimeSeries } from "../series.js";
import { Sheet, ShowAll, many, recordsOf, within } from "./model_parts.js";
import { bucketName, utc, windowOf } from "./model_span.js";

const MOST_COLUMNS = 24;
const MOST_TOLD = 50;
const MOST_NEW = 5;
const WINDOWS = { hour: "an hour", day: "a day", week: "a week" };

/** The tests that decide: their names, their thresholds, and what they found in a column. */
const TESTS = [
  ["Kolmogorov-Smirnov statistic", "ks_statistic", (one) => [one.ks_test?.statistic, one.ks_test]],
  ["Jensen-Shannon distance", "jensen_shannon_distance",
    (one) => [one.jensen_shannon_distance, one.grouped_chi_squared_test]],
  ["distance of what is rare", "jensen_shannon_distance", (one) => [one.rare_distance, one.rare_test]],
  ["means apart, in standard deviations", "mean_difference",
    (one) => [Math.abs(one.mean_difference), one.mean_test]],
  ["distance of what is missing", "jensen_shannon_distance", (one) => [one.missing_distance, one.missing_test]],
];

/** What the tests of a column found: name, effect, limit, how many times the limit, p-value. */
function effects(column, thresholds) {
  return TESTS.map(([name, threshold, of]) => {
    const [effect, test] = of(column);
    const limit = thresholds[threshold];
    return test && { name, effect, limit, times: effect / limit, pvalue: test.pvalue };
  }).filter(Boolean);
}

/** How far a column is from the baseline, as a multiple of a threshold; null if it could not be compared. */
function strength(column, thresholds) {
  return column.drift === null ? null : Math.max(0, ...effects(column, thresholds).map(({ times }) => times));
}

/** The test that explains a column: of those with a large enough effect, the least p-value; else the largest effect. */
function evidence(column, thresholds) {
  const large = effects(column, thresholds).filter(({ times }) => times >= 1);
  return large.sort((one, other) => one.pvalue - other.pvalue || other.times - one.times)[0];
}

const KINDS = { feature: "", picture: "picture: ", label: "label of target ", value: "value of target " };

/** The name of a column for people. */
function columnName(name) {
  const [kind, ...rest] = name.split(":");
  return rest.length === 0 ? name : `${KINDS[kind] ?? `${kind} `}${rest.join(":")}`;
}

const rounded = (value) => number(value === null || value === undefined ? null : Number(value.toPrecision(3)));
const probability = (value) => value !== null && value < 1e-6 ? "< 0.000001" : rounded(value);

/** Drift of a version: in words, as a table, and as small multiples. */
export function Drift({ drift, query }) {
  const { windows, thresholds, baseline } = drift;
  const told = windows.filter((window) => window.drift !== null);
  const drifted = windows.filter((window) => window.drift);
  return html`
    <p>${inWords(drift, told, drifted)}</p>
    ${baseline.count > 0 && html`<p class="muted">Compared with ${baselineInWords(baseline)}. A column drifted if what
      a test found reaches its threshold, and is not by chance: p ≤ ${number(thresholds.pvalue)} for all columns of a
      window together.</p>`}
    ${drifted.length > 0 && html`<h3>What drifted</h3><${Drifted} drift=${drift} windows=${drifted} />`}
    ${told.length > 0 && html`<${Columns} drift=${drift} query=${query} />`}`;
}

function inWords({ windows, window, baseline, thresholds }, told, drifted) {
  const least = count(thresholds.count);
  const each = `windows of ${WINDOWS[window]}`;
  if (baseline.count === 0) return "There is nothing to compare with: the baseline has no predictions.";
  if (told.length === 0) {
    const why = baseline.count < thresholds.count
      ? `The baseline has ${many(baseline.count, "prediction")}, and ${least} are needed.`
      : `None of the ${count(windows.length)} ${each} has ${least} values. Choose longer windows, or another time.`;
    return `Drift cannot be decided. ${why}`;
  }
  const rest = windows.length - told.length;
  const have = rest === 1 ? "has" : "have";
  const untold = rest > 0 ? ` ${many(rest, "window")} ${have} too few values to tell, fewer than ${least}.` : "";
  return drifted.length > 0
    ? `Drift in ${count(drifted.length)} of ${count(windows.length)} ${each}.${untold}`
    : `No drift in ${count(windows.length)} ${each}.${untold}`;
}

function baselineInWords({ kind, count: found, since, until, version }) {
  const of = many(found, "prediction");
  if (kind === "package") return `the baseline of the model's package, ${of}`;
  if (kind === "version") return `version ${version}, ${of}`;
  const span = since && until ? ` from ${utc(since)} to ${utc(until)}` : "";
  return kind === "first" ? `the version's first ${of}${span}` : `${of}${span}`;
}

/** Which column drifted, when, and how much. The newest window comes first. */
function Drifted({ drift, windows }) {
  const all = [...windows].reverse().flatMap((window) => window.drifted.map((name) => ({ window, name })));
  const rows = all.slice(0, MOST_TOLD).map(({ window, name }) => {
    const column = window.columns[name];
    const found = evidence(column, drift.thresholds);
    return [
      bucketName(window.starts_at, drift.window), columnName(name),
      found ? `${found.name} ${rounded(found.effect)}, threshold ${number(found.limit)}` : "", change(column),
      probability(column.adjusted_pvalue),
      html`<a href=${recordsOf(drift, within(drift, window))}>${count(window.count)}</a>`,
    ];
  });
  const heads = ["Window", "Column", "How much", "Mean, or what is new", "p", "Records"];
  return html`
    <${Sheet} label="What drifted" heads=${heads} text=${4} rows=${rows} />
    ${all.length > MOST_TOLD && html`<p class="muted">The newest ${MOST_TOLD} of ${count(all.length)}.</p>`}`;
}

function change({ kind, baseline, window, new_categories: fresh }) {
  if (fresh.length > 0) return `new: ${fresh.slice(0, MOST_NEW).join(", ")}${fresh.length > MOST_NEW ? " …" : ""}`;
  if (baseline.mean === null || window.mean === null) return "";
  const shown = kind === "share" ? percent : rounded;
  return `${shown(baseline.mean)} → ${shown(window.mean)}`;
}

/** How far each column is from the baseline in each window. The column that drifted most comes first. */
function Columns({ drift, query }) {
  const { windows, thresholds } = drift;
  const columns = Object.keys(windows[0].columns).map((name) => {
    const over = windows.map((window) => window.columns[name]);
    const values = over.map((column) => strength(column, thresholds));
    const marks = over.map((column) => column.drift === true);
    return { name, values, marks, times: marks.filter(Boolean).length, most: Math.max(...values) };
  }).sort((one, other) => other.times - one.times || other.most - one.most);
  const chosen = columns.find(({ name }) => name === query.get("column"))?.name ?? null;
  const shown = query.get("columns") === "all" ? columns : columns.slice(0, MOST_COLUMNS);
  return html`
    <h3>Each column</h3>
    <p class="muted">How far a window is from the baseline, as a multiple of the threshold, which is the dashed line.
      What is marked has drifted; what is above the line and not marked may be chance.</p>
    <${Multiples} label="Distance of each column over time" line=${1} format=${(value) => `${rounded(value)}\u00a0×`}
      times=${windows.map((window) => bucketName(window.starts_at, drift.window))}
      items=${shown.map(({ name, values, marks, times }) => ({
        name: columnName(name), values, marks, chosen: name === chosen,
        note: times > 0 ? `drift in ${many(times, "window")}` : "no drift",
        onChoose: () => setQuery({ column: name === chosen ? null : name }, { replace: true }),
      }))} />
    <${ShowAll} name="columns" query=${query} most=${MOST_COLUMNS} of=${columns.length} what="columns" />
    ${chosen !== null && html`<${Column} key=${chosen} drift=${drift} name=${chosen} />`}`;
}

/** All figures of one column. */
function Column({ drift: { windows, window: width, thresholds }, name }) {
  const over = windows.map((window) => window.columns[name]);
  const { mean } = over[0].baseline;
  const times = windows.map((window) => new Date(window.starts_at));
  const line = (says, label, of, level, constant) => {
    if (!over.some((one) => typeof of(one) === "number")) return null;
    const values = over.map((one) => of(one) ?? null);
    return html`<${TimeSeries} label=${says} times=${times} width=${width} zero=${constant !== "baseline"}
      series=${[{ name: label, values }, { name: constant, values: over.map(() => level) }]} />`;
  };
  const told = (one) => one.drift === null ? "cannot be told" : one.drift ? "drift" : "no";
  const heads = ["Window", "Values", "Missing", "Mean", "Jensen-Shannon", "Kolmogorov-Smirnov", "Stability index",
    "Wasserstein", "p", "Drift"];
  return html`<div role="group" aria-label=${`Column ${columnName(name)}`}>
    <h3>${columnName(name)}</h3>
    ${line("Mean over time", "window", (one) => one.window.mean, mean, "baseline")}
    ${line("Jensen-Shannon distance over time", "distance", (one) => one.jensen_shannon_distance,
      thresholds.jensen_shannon_distance, "threshold")}
    ${line("Kolmogorov-Smirnov statistic over time", "statistic", (one) => one.ks_test?.statistic,
      thresholds.ks_statistic, "threshold")}
    <${Table} label=${`Figures of ${columnName(name)} in each window`} columns=${heads}
      rows=${() => over.map((one, at) => [
        bucketName(windows[at].starts_at, width), count(one.window.count), count(one.window.missing),
        ...[one.window.mean, one.jensen_shannon_distance, one.ks_test?.statistic].map(rounded),
        ...[one.population_stability_index, one.wasserstein_distance].map(rounded),
        probability(one.adjusted_pvalue), told(one),
      ])} />
  </div>`;
}

/** The choice of windows, and of what they are compared with. It is shown even if the answer is a refusal. */
export function DriftChoice({ query, versions, version }) {
  const given = query.get("baseline") ?? "";
  const baselines = [
    ["", "its own baseline, else its first predictions"],
    ["package", "the package's baseline"],
    ["first", "its first predictions"],
    ...versions.map((one) => one.version).filter((one) => one !== version)
      .map((one) => [`version:${one}`, `version ${one}`]),
  ];
  if (!baselines.some(([value]) => value === given)) baselines.push([given, given]);
  const choose = (name) => (event) => setQuery({ [name]: event.target.value });
  const select = (name, value, options) => html`<select value=${value} onChange=${choose(name)}>
    ${options.map(([one, says]) => html`<option value=${one}>${says}</option>`)}
  </select>`;
  return html`<div class="model-choices">
    <label>Windows of ${select("window", windowOf(query), Object.entries(WINDOWS))}</label>
    <label>Compared with ${select("baseline", given, baselines)}</label>
  </div>`;
}

/** Drift in a few words: `[value, note]`. */
export function driftInShort({ windows }) {
  const drifted = windows.filter((window) => window.drift);
  const told = windows.filter((window) => window.drift !== null);
  if (told.length === 0) return ["cannot be told", "too few values"];
  if (drifted.length === 0) return ["none", `told of ${count(told.length)} of ${many(windows.length, "window")}`];
  const columns = [...new Set(drifted.flatMap((window) => window.drifted))].map(columnName);
  const named = `${columns.slice(0, 3).join(", ")}${columns.length > 3 ? " …" : ""}`;
  return [`${count(drifted.length)} of ${count(windows.length)} windows`, named];
}
