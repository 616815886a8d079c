/** How right a version was, where the truth is known: what `GET …/performance` answers. */

import { Boxes, Calibration, Matrix } from "../charts.js";
import { count, number, percent } from "../format.js";
import { html } from "../html.js";
import { href, setQuery } from "../route.js";
import { Empty } from "../states.js";
import { Facts, OverTime, Sheet, ShowAll, between, many, recordsOf } from "./model_parts.js";

const FEW = 30; // judged predictions; with fewer, figures say little
const MOST_CLASSES = 50;
const MOST_CELLS = 25; // the most labels of a matrix that is still readable
const MOST_MISTAKES = 20;
const ERRORS = { mae: "MAE", rmse: "RMSE", r2: "R²", bias: "Bias" };
const ORDERS = {
  model: "as the model has them", f1: "worst F1 first", recall: "worst recall first",
  precision: "worst precision first", support: "most frequent first",
};

/**
 * What the view shows: the target that the URL names, or the whole prediction, or the first target.
 *
 * `listed`: whether the list of records can be filtered by the labels. It cannot by those of one target of several.
 */
export function targetOf(performance, query) {
  const targets = performance.targets ?? {};
  const names = Object.keys(targets);
  const whole = performance.classification !== undefined || performance.regression !== undefined;
  const asked = query.get("target");
  const name = names.includes(asked) ? asked : whole ? null : names[0] ?? null;
  return {
    name, names, whole,
    listed: name === null && performance.task === "classification",
    figures: name === null ? performance : targets[name],
    buckets: name === null ? performance.buckets : performance.buckets.map((bucket) => bucket.targets?.[name] ?? {}),
  };
}

/** The choice of one of several targets. */
export function TargetChoice({ performance, query }) {
  const { name, names, whole } = targetOf(performance, query);
  if (names.length === 0) return null;
  const choose = (event) => setQuery({ target: event.target.value });
  return html`<p><label>Target <select value=${name ?? ""} onChange=${choose}>
    ${whole && html`<option value="">All</option>`}
    ${names.map((one) => html`<option value=${one}>${one}</option>`)}
  </select></label></p>`;
}

/** Accuracy with its interval, coverage, and both over time; for a regression, its errors. */
export function Accuracy({ performance, query }) {
  const { coverage } = performance;
  if (coverage.count === 0) return html`<${Empty}>There are no predictions in this time.<//>`;
  if (coverage.judged === 0) return html`<${Uncovered} performance=${performance} />`;
  const { figures } = targetOf(performance, query);
  const known = figures.classification || figures.regression;
  return html`
    <${TargetChoice} performance=${performance} query=${query} />
    <p>The truth is known of ${count(coverage.judged)} of ${many(coverage.count, "prediction")}: the coverage is
      ${" "}${percent(coverage.share)}. <a href=${recordsOf(performance, { has_ground_truth: "true" })}>See them</a></p>
    ${figures.classification && html`<${Right} performance=${performance} query=${query} />`}
    ${figures.regression && html`<${Near} performance=${performance} query=${query} />`}
    ${!known && html`<${Empty}>A prediction of this kind (${performance.task}) is neither right nor wrong, and has no
      error: its truth is kept, but not counted.<//>`}
    <${OverTime} label="Coverage over time" figures=${performance} format=${percent}
      series=${[{ name: "coverage", of: (bucket) => bucket.coverage.share }]} />`;
}

function Uncovered({ performance: { model, version, coverage } }) {
  return html`<${Empty}>Of ${many(coverage.count, "prediction")} of this time, none has a ground truth: the coverage is
    0. Say what was right in the <a href=${href("review", [], { model, version })}>review</a>, or
    ${" "}<a href=${href("import")}>import</a> it.<//>`;
}

function Right({ performance, query }) {
  const { figures, buckets, listed } = targetOf(performance, query);
  const { classification: found, log_loss: loss, brier_score: brier } = figures;
  if (found.count === 0) return html`<${Empty}>No truth of this time can be compared with a label.<//>`;
  const link = (correct, times) => listed && times > 0
    ? html`<a href=${recordsOf(performance, { correct })}>${count(times)}</a>` : count(times);
  return html`
    <${Facts} label="Accuracy" items=${[
      ["Accuracy", percent(found.accuracy), `95 %: ${between(found.accuracy_interval)}`],
      ["Right", link("true", found.correct)],
      ["Wrong", link("false", found.count - found.correct)],
      ["Macro F1", percent(found.macro?.f1), "the mean over the labels"],
      ["Weighted F1", percent(found.weighted?.f1), "by how often each is true"],
      ...loss === undefined ? [] : [["Log loss", number(loss)]],
      ...brier === undefined ? [] : [["Brier score", number(brier)]],
    ]} />
    ${found.count < FEW && html`<p class="muted">
      Only ${many(found.count, "judged prediction")}: the interval is wide.</p>`}
    <${OverTime} label="Accuracy over time" figures=${performance} buckets=${buckets} format=${percent} zero=${false}
      series=${[{
        name: "accuracy, with its 95 % interval", of: (bucket) => bucket.accuracy,
        low: (bucket) => bucket.accuracy_interval?.low, high: (bucket) => bucket.accuracy_interval?.high,
      }]} />`;
}

function Near({ performance, query }) {
  const { figures: { regression: found }, buckets } = targetOf(performance, query);
  if (found.count === 0) return html`<${Empty}>No truth of this time can be compared with a number.<//>`;
  const over = (label, ...names) => html`<${OverTime} label=${`${label} over time`} figures=${performance}
    buckets=${buckets} zero=${names[0] !== "r2"}
    series=${names.map((name) => ({ name: ERRORS[name], of: (bucket) => bucket[name] }))} />`;
  return html`
    <${Facts} label="Errors" items=${[
      ["MAE", number(found.mae), "the mean error"],
      ["RMSE", number(found.rmse), "large errors count more"],
      ["R²", number(found.r2), found.r2 === null ? "needs two truths that differ" : "1 is exact, 0 the mean"],
      ["Bias", number(found.bias), "prediction minus truth"],
      ["Judged", count(found.count)],
    ]} />
    ${found.count < FEW && html`<p class="muted">
      Only ${many(found.count, "judged prediction")}: little can be told yet.</p>`}
    ${found.residual_quantiles && html`<${Boxes} label="Residuals: prediction minus truth"
      items=${[{ name: "Residual", ...found.residual_quantiles }]} />`}
    ${over("MAE and RMSE", "mae", "rmse")}
    ${over("Bias", "bias")}
    ${over("R²", "r2")}`;
}

/** Precision, recall, F1 and support of each label. */
export function Classes({ performance, query }) {
  const { figures: { classification: found }, listed } = targetOf(performance, query);
  if (!found) return html`<${Empty}>No truth of this time can be compared with a label.<//>`;
  const order = Object.hasOwn(ORDERS, query.get("classes") ?? "") ? query.get("classes") : "model";
  const choose = ({ target: { value } }) => setQuery({ classes: value === "model" ? null : value }, { replace: true });
  const classes = inOrder(found.classes, order);
  const records = (filters, times) => {
    if (!listed || times === 0 || Object.values(filters).includes("")) return count(times);
    return html`<a href=${recordsOf(performance, { has_ground_truth: "true", ...filters })}>${count(times)}</a>`;
  };
  const heads = ["Label", "Precision", "Recall", "F1", "True (support)", "Predicted"];
  return html`
    <p><label>Order <select value=${order} onChange=${choose}>
      ${Object.entries(ORDERS).map(([value, says]) => html`<option value=${value}>${says}</option>`)}
    </select></label></p>
    <${Sheet} label="Figures of each label" heads=${heads}
      rows=${(query.get("labels") === "all" ? classes : classes.slice(0, MOST_CLASSES)).map((one) => [
        one.label,
        ...["precision", "recall", "f1"].map((name) => outOf(one)[name] === 0 ? "–" : percent(one[name])),
        records({ ground_truth: one.label }, one.support),
        records({ label: one.label }, one.predicted),
      ])} />
    <${ShowAll} name="labels" query=${query} most=${MOST_CLASSES} of=${classes.length} what="labels" />
    <p class="muted">Of the predictions with a truth. – stands where there is none to take a share of.</p>`;
}

/** The count that each score is a share of. If that is 0, the score is 0 and says nothing. */
const outOf = ({ support, predicted }) =>
  ({ precision: predicted, recall: support, f1: support + predicted, support: 1 });

function inOrder(classes, order) {
  if (order === "model") return classes;
  const sign = order === "support" ? -1 : 1;
  const told = (one) => outOf(one)[order] > 0;
  return [...classes].sort((one, other) => told(other) - told(one) || sign * (one[order] - other[order]));
}

/** How often the model is right at each confidence. */
export function Calibrated({ performance, query }) {
  const { calibration: found } = targetOf(performance, query).figures;
  if (!found || found.count === 0) return html`<${Empty}>No prediction with a truth has a confidence.<//>`;
  return html`
    <p>Confidence and accuracy are ${percent(found.expected_calibration_error)} apart on average (expected calibration
      error), over ${many(found.count, "prediction")}.</p>
    <${Calibration} label="Calibration" bins=${found.bins} />`;
}

/** How often each label was predicted for each true label. Its cells link to the records behind them. */
export function Confusions({ performance, query }) {
  const { figures: { classification: found }, listed } = targetOf(performance, query);
  if (!found || found.count === 0) return html`<${Empty}>No truth of this time can be compared with a label.<//>`;
  const { labels, matrix, labels_left_out: left } = found.confusion_matrix;
  // `correct` leaves out what no cell counts: a number as truth, which was given before the outcome was known.
  const lead = (truth, predicted) => listed && truth !== "" && predicted !== ""
    ? recordsOf(performance, { label: predicted, ground_truth: truth, correct: String(truth === predicted) }) : null;
  const kept = labels.length > MOST_CELLS ? worst(matrix) : labels.map((_, at) => at);
  return html`<div class="model-beside"><div>
    <${Matrix} label="Confusion matrix" labels=${kept.map((at) => labels[at])}
      counts=${kept.map((row) => kept.map((column) => matrix[row][column]))} href=${lead} />
    ${kept.length < labels.length + left && html`<p class="muted">The ${count(kept.length)} labels with the most
      mistakes, of ${count(labels.length + left)}.</p>`}
    </div><div><${Mistakes} pairs=${mistakes(labels, matrix)} lead=${lead} left=${left} /></div></div>`;
}

function Mistakes({ pairs, lead, left }) {
  if (pairs.length === 0 && left === 0) return html`<p class="muted">There is no mistake.</p>`;
  return html`<h3>Most frequent mistakes</h3>
    <${Sheet} label="Most frequent mistakes" heads=${["True", "Predicted", "Predictions"]} text=${2}
      rows=${pairs.slice(0, MOST_MISTAKES).map(([truth, predicted, times]) => {
        const url = lead(truth, predicted);
        return [truth, predicted, url ? html`<a href=${url}>${count(times)}</a>` : count(times)];
      })} />`;
}

/** The labels with the most mistakes, in the model's order. */
function worst(matrix) {
  const wrong = matrix.map((row, at) =>
    row.reduce((sum, times, other) => other === at ? sum : sum + times + matrix[other][at], 0));
  const places = matrix.map((_, at) => at).sort((one, other) => wrong[other] - wrong[one]);
  return places.slice(0, MOST_CELLS).sort((one, other) => one - other);
}

/** The pairs of a true label and a wrong prediction, the most frequent first. */
function mistakes(labels, matrix) {
  const pairs = matrix.flatMap((row, truth) =>
    row.map((times, at) => [labels[truth], labels[at], truth === at ? 0 : times]));
  return pairs.filter(([, , times]) => times > 0).sort(([, , one], [, , other]) => other - one);
}

/** The figures of a performance that are one number each: `[name, value, format, note]`. */
export function performanceRows(performance, query) {
  const { figures } = targetOf(performance, query);
  const { classification: found, calibration, regression } = figures;
  const { judged, share } = performance.coverage;
  const rows = [["With a truth", judged, count], ["Coverage", share, percent]];
  if (found) {
    rows.push(["Accuracy", found.accuracy, percent, between(found.accuracy_interval)]);
    rows.push(["Macro F1", found.macro?.f1 ?? null, percent]);
  }
  if (figures.log_loss !== undefined) rows.push(["Log loss", figures.log_loss, number]);
  if (figures.brier_score !== undefined) rows.push(["Brier score", figures.brier_score, number]);
  if (calibration) rows.push(["Expected calibration error", calibration.expected_calibration_error, percent]);
  if (regression) rows.push(...Object.entries(ERRORS).map(([name, says]) => [says, regression[name], number]));
  return rows;
}

/** The figures to show first. */
export function PerformanceFacts({ performance, query }) {
  const { classification: found, regression } = targetOf(performance, query).figures;
  const { judged, share } = performance.coverage;
  return html`<${Facts} label="Rightness" items=${[
    ["Coverage", percent(share), `${count(judged)} with a truth`],
    ...found ? [["Accuracy", percent(found.accuracy), between(found.accuracy_interval)]] : [],
    ...regression ? [["MAE", number(regression.mae)]] : [],
  ]} />`;
}
