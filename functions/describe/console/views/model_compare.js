/** Two versions of a model side by side, and whether one is better on the same inputs. */

import { count, number, percent } from "../format.js";
import { html } from "../html.js";
import { setQuery } from "../route.js";
import { TimeSeries } from "../series.js";
import { Empty } from "../states.js";
import { Sheet } from "./model_parts.js";
import { TargetChoice, performanceRows, targetOf } from "./model_performance.js";
import { usageRows } from "./model_usage.js";

const SIGNIFICANT = 0.05;
const METHODS = { exact: "exact", chi_squared: "chi-squared" };
const OVER_TIME = [["accuracy", "Accuracy over time", percent], ["mae", "MAE over time", number]];

/** The choice of another version to compare with. */
export function CompareChoice({ query, versions, version }) {
  const given = query.get("compare") ?? "";
  const others = versions.map((one) => one.version).filter((one) => one !== version);
  if (given !== "" && !others.includes(given)) others.push(given);
  if (others.length === 0) return html`<${Empty}>This model has no other version.<//>`;
  const choose = (event) => setQuery({ compare: event.target.value });
  return html`<p><label>Compare with <select value=${given} onChange=${choose}>
    <option value="">no other version</option>
    ${others.map((one) => html`<option value=${one}>version ${one}</option>`)}
  </select></label></p>`;
}

/**
 * Two versions side by side.
 *
 * @param {{performance: object, own: object, other: object, query: URLSearchParams}} props The performance with
 *   `compare`, and the statistics of each version.
 */
export function Compared({ performance, own, other, query }) {
  const { model, since, until, compare } = performance;
  const names = [performance, compare].map(({ version }) => `Version ${version}`);
  const both = [performance, { ...compare, model, since, until }];
  return html`
    <${TargetChoice} performance=${performance} query=${query} />
    <${Sheet} label=${`${names[0]} beside version ${compare.version}`} heads=${["Figure", ...names]} rows=${[
      ...beside(usageRows(own), usageRows(other)),
      ...beside(...both.map((one) => performanceRows(one, query))),
    ]} />
    <${BothOverTime} both=${both} query=${query} />
    <h3>On the same inputs</h3>
    <${Paired} performance=${performance} />`;
}

/** One row for each figure that either version has. */
function beside(one, other) {
  const names = [...new Set([...one, ...other].map(([name]) => name))];
  const said = (row) => {
    if (row === undefined || row[1] === null) return "–";
    const [, value, format, note] = row;
    return html`${format(value)}${note && html`<br /><small class="muted">${note}</small>`}`;
  };
  return names.map((name) => [name, ...[one, other].map((rows) => said(rows.find((row) => row[0] === name)))]);
}

function BothOverTime({ both, query }) {
  const buckets = both.map((one) => targetOf(one, query).buckets);
  const found = OVER_TIME.find(([name]) => buckets.flat().some((bucket) => typeof bucket[name] === "number"));
  if (!found) return null;
  const [name, label, format] = found;
  return html`<${TimeSeries} label=${label} times=${both[0].buckets.map((bucket) => new Date(bucket.starts_at))}
    width=${both[0].interval} format=${format} zero=${name === "mae"} series=${both.map(({ version }, at) => ({
      name: `version ${version}`, values: buckets[at].map((bucket) => bucket[name] ?? null),
    }))} />`;
}

function Paired({ performance: { version, compare } }) {
  const { count: found, both_right: right, both_wrong: wrong, looked_at: most, mcnemar } = compare.paired;
  const looked = "Inputs are the same by their bytes or their inference_id, "
    + `among the newest ${count(most)} predictions of each.`;
  if (found === 0) return html`<${Empty}>Both versions have judged predictions of no common input. ${looked}<//>`;
  const { only_first: first, only_second: second, pvalue, method } = mcnemar;
  const heads = ["Right or wrong", `Version ${compare.version} right`, `Version ${compare.version} wrong`];
  const better = first > second ? version : compare.version;
  const says = first + second === 0 ? `On all ${count(found)} inputs both are right, or both are wrong.`
    : pvalue <= SIGNIFICANT ? `Version ${better} is right more often, and not by chance`
      : "Neither is right more often than by chance";
  return html`
    <${Sheet} label="Inputs that both versions have predicted" heads=${heads} rows=${[
      [`Version ${version} right`, count(right), count(first)],
      [`Version ${version} wrong`, count(second), count(wrong)],
    ]} />
    <p>${says}${first + second > 0 && `: McNemar's test (${METHODS[method]}) of ${count(found)} inputs gives p ${
      pvalue < 1e-6 ? "< 0.000001" : `= ${number(Number(pvalue.toPrecision(3)))}`}.`}</p>
    <p class="muted">${looked}</p>`;
}
