/** One version of a model: how it is used, how right it is, and how its inputs have changed. */

import { get } from "../api.js";
import { Intervals } from "../charts.js";
import { Ago, count } from "../format.js";
import { html } from "../html.js";
import { useLoad } from "../load.js";
import { href } from "../route.js";
import { Failed, Notice } from "../states.js";
import { CompareChoice, Compared } from "./model_compare.js";
import { Drift, DriftChoice, driftInShort } from "./model_drift.js";
import { Facts, Section, rated } from "./model_parts.js";
import { Accuracy, Calibrated, Classes, Confusions, PerformanceFacts } from "./model_performance.js";
import { SpanChoice, spanOf, windowOf } from "./model_span.js";
import { Confidence, Labels, Latency, Usage, UsageFacts } from "./model_usage.js";

/** Load all that a version shows at once. Each part is shown as soon as it is there. */
function useFigures(model, version, query) {
  const span = spanOf(query);
  const path = `/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`;
  const compare = query.get("compare");
  const of = (name, more, dependencies = []) =>
    useLoad((signal) => get(name, { ...span, ...more }, { signal }), [JSON.stringify(span), ...dependencies]);
  return {
    models: useLoad((signal) => get("/models", {}, { signal })),
    own: of("/statistics", { model, version, group_by: "label" }),
    all: of("/statistics", {}),
    performance: of(`${path}/performance`, {}),
    drift: useLoad((signal) => driftOf(path, query, signal),
      [JSON.stringify(span), query.get("window"), query.get("baseline")]),
    compared: useLoad(async (signal) => {
      if (!compare) return null;
      const [performance, own, other] = await Promise.all([
        get(`${path}/performance`, { ...span, compare }, { signal }),
        ...[version, compare].map((one) => get("/statistics", { ...span, model, version: one }, { signal })),
      ]);
      return { performance, own, other };
    }, [JSON.stringify(span), compare]),
  };
}

/** Load windows of the length in the URL. If it has none and days would be too many figures, load weeks. */
async function driftOf(path, query, signal) {
  const { since, until } = spanOf(query);
  const asked = { since, until, baseline: query.get("baseline"), window: windowOf(query) };
  try {
    return await get(`${path}/drift`, asked, { signal });
  } catch (problem) {
    const tooMany = problem.status === 422 && problem.errors.some(({ pointer }) => pointer === "/window");
    if (!tooMany || query.get("window") !== null || asked.window === "week") throw problem;
    return get(`${path}/drift`, { ...asked, window: "week" }, { signal });
  }
}

/** Combine several loads into one, which has a value once all have one. */
function together(parts) {
  const loads = Object.values(parts);
  const values = Object.fromEntries(Object.entries(parts).map(([name, { value }]) => [name, value]));
  return {
    value: loads.some(({ value }) => value === null) ? null : values,
    problem: loads.find(({ problem }) => problem)?.problem ?? null,
    loading: loads.some(({ loading }) => loading),
    again: () => loads.filter(({ problem }) => problem).forEach(({ again }) => again()),
  };
}

/** A refusal that concerns all sections, and so is shown once: no such version, or no such span. */
function refusal({ own, performance, drift }) {
  const ofSpan = ({ pointer }) => pointer === "/since" || pointer === "/until";
  return [own, performance, drift].find(({ problem }) =>
    problem?.status === 404 || problem?.status === 422 && problem.errors.some(ofSpan));
}

/**
 * All figures of a version.
 *
 * @param {{model: string, version: string, query: URLSearchParams}} props
 */
export function Version({ model, version, query }) {
  const loads = useFigures(model, version, query);
  const versions = (loads.models.value?.models ?? []).filter(({ name }) => name === model);
  const one = versions.find((found) => found.version === version);
  const refused = refusal(loads);
  const again = () => Object.values(loads).forEach((load) => load.again());
  const isOfOwn = Object.values(loads).some(({ value }) => value?.of === "yours");
  return html`
    <p><a href="/console/models">All models</a></p>
    <h1>${model} ${version}</h1>
    <${About} one=${one} model=${model} version=${version} />
    <${SpanChoice} query=${query} first=${one?.first_prediction_at} again=${again} />
    ${isOfOwn && html`<${Notice}>You see the figures of your own records.<//>`}
    ${refused
      ? html`<${Failed} problem=${refused.problem} again=${refused.again} />`
      : html`<${Sections} loads=${loads} query=${query} versions=${versions} one=${one} version=${version} />`}`;
}

function About({ one, model, version }) {
  const records = (filters) => href("records", [], { model, version, ...filters });
  return html`
    ${one && html`<p class="muted">${one.task}, ${count(one.count)} predictions in all, the last one
      ${" "}${one.last_prediction_at === null ? "never" : html`<${Ago} time=${one.last_prediction_at} />`}. SHA-256 of the model:
      ${one.sha256.map((digest) => html` <code title=${digest}>${digest.slice(0, 12)}</code>`)}</p>`}
    <p><a href=${records({})}>Records</a>
      ${(!one || one.task === "classification") && html`
      ${" · "}<a href=${records({ correct: "false" })}>What it got wrong</a>
      ${" · "}<a href=${records({ order: "confidence" })}>What it was unsure of</a>`}
      ${" · "}<a href=${href("review", [], { model, version })}>Review</a></p>`;
}

/** Which sections apply to the model in this span. Until that is known, all do. */
function wanted({ own: { value: statistics }, performance: { value: rightness } }) {
  const total = statistics?.total ?? null;
  const used = total === null || total.count > 0;
  const parts = rightness === null ? [] : [rightness, ...Object.values(rightness.targets ?? {})];
  const classifies = rightness === null || rightness.task === "classification"
    || parts.some((one) => one.classification);
  return {
    used,
    classes: used && classifies,
    calibration: used && (rightness === null || rightness.task === "classification"),
    confidence: used && (classifies || total?.confidence.count > 0),
    labels: used && (classifies || Object.keys(total?.labels ?? {}).length > 0),
  };
}

function Sections({ loads, query, versions, one, version }) {
  const { own, all, performance, drift, compared } = loads;
  const usage = together({ own, all });
  const has = wanted(loads);
  const choice = { query, versions, version };
  const section = (name, load, show, more = {}) =>
    html`<${Section} name=${name} load=${load} show=${show} ...${more} />`;
  const ofPerformance = (View) => (value) => html`<${View} performance=${value} query=${query} />`;
  const ofStatistics = (View) => (value) => html`<${View} statistics=${value} />`;
  return html`<div class="figure-sections">
    <div class="model-glance wide" role="group" aria-label="At a glance">
      ${usage.value && html`<${UsageFacts} ...${usage.value} />`}
      ${performance.value && html`<${PerformanceFacts} performance=${performance.value} query=${query} />`}
      ${drift.value && html`<${Facts} label="Change" items=${[["Drift", ...driftInShort(drift.value)]]} />`}
    </div>
    ${section("Usage", usage, (value) => html`<${Usage} ...${value} last=${one?.last_prediction_at} />`,
      { wide: true })}
    ${section("Accuracy", performance, (value) => html`<${Accuracy} performance=${value} query=${query} />
      <${EachVersion} versions=${versions} version=${version} query=${query} />`, { wide: true })}
    ${has.classes && section("Confusion matrix", performance, ofPerformance(Confusions), { wide: true })}
    ${has.classes && section("Classes", performance, ofPerformance(Classes))}
    ${has.calibration && section("Calibration", performance, ofPerformance(Calibrated))}
    ${has.confidence && section("Confidence", own, ofStatistics(Confidence))}
    ${has.used && section("Latency", own, ofStatistics(Latency))}
    ${has.labels && section("Labels", own, ofStatistics(Labels), { wide: true })}
    ${section("Drift", drift, (value) => html`<${Drift} drift=${value} query=${query} />`,
      { wide: true, before: html`<${DriftChoice} ...${choice} />` })}
    ${section("Side by side", compared, (value) => html`<${Compared} ...${value} query=${query} />`,
      { wide: true, before: html`<${CompareChoice} ...${choice} />` })}
  </div>`;
}

/** How right each version of the model is, where more than one was judged. */
function EachVersion({ versions, version, query }) {
  const judged = versions.filter(({ accuracy }) => accuracy !== null);
  if (judged.length < 2) return null;
  const span = { since: query.get("since"), until: query.get("until") };
  return html`<${Intervals} label="Accuracy of each version, of all time, with its 95 % interval"
    items=${judged.map((one) => rated(one, {
      name: `version ${one.version}`, marked: one.version === version,
      href: href("models", [one.name, one.version], span),
    }))} />`;
}
