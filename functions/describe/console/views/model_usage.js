/** How often, how fast and how sure: what `GET /statistics` answers. */

import { Bars, Histogram, Multiples } from "../charts.js";
import { count, duration, moment, percent } from "../format.js";
import { html } from "../html.js";
import { Empty } from "../states.js";
import { Facts, OverTime, Sheet, many, recordsOf } from "./model_parts.js";
import { bucketName, utc } from "./model_span.js";

const OF_NO_VERSION = ["failed", "queued", "processing"];
const NAMES = { processing: "in progress" };
const MOST_SMALL = 12;
const MOST_BARS = 20;
const PARTS = { decode_ms: "Decoding the input", inference_ms: "Running the model", queue_ms: "Waiting in the queue" };
const PERCENTILES = ["p50", "p90", "p99"];

const byCount = (counts) => Object.entries(counts).sort(([, one], [, other]) => other - one);
const inWords = ({ since, until, interval }) => `From ${utc(since)} to ${utc(until)}, by the ${interval}.`;

/** The URL of the failed records, of any version. */
const failedOf = (statistics) => recordsOf({ ...statistics, model: null, version: null }, { status: "failed" });

/**
 * Predictions over time by status.
 *
 * Failed and waiting predictions have no version, because no model made them: they are counted over all versions.
 *
 * @param {{own: object, all: object|null, last?: string|null}} props The statistics of what is shown and, if that is a
 *   version, those of everything. `last`: when the last prediction was made.
 */
export function Usage({ own, all = null, last = null }) {
  const { statuses, failures } = (all ?? own).total;
  const others = OF_NO_VERSION.filter((status) => statuses[status] > 0);
  if (own.total.count === 0 && others.length === 0) {
    return html`<${Empty}>There are no predictions in this time. ${inWords(own)}
      ${last && ` The last one was made ${moment(last)}.`}<//>`;
  }
  const buckets = own.buckets.map((bucket, at) => [bucket, all?.buckets[at] ?? bucket]);
  const series = [
    { name: "succeeded", of: ([bucket]) => bucket.statuses.succeeded },
    ...others.map((status) => ({
      name: all ? `${status}, any version` : status, of: ([, bucket]) => bucket?.statuses[status],
    })),
  ];
  return html`
    <p>${[`${many(own.total.statuses.succeeded, "prediction")} succeeded`,
      ...others.map((status) => `${count(statuses[status])} ${NAMES[status] ?? status}`)].join(", ")}.
      ${" "}<span class="muted">${inWords(own)}
      ${all && others.length > 0 && " What failed or waits is of no version: it is counted of all."}</span></p>
    <${OverTime} label="Predictions by status" figures=${own} buckets=${buckets} series=${series}
      unit=${`per ${own.interval}`} format=${count} stacked=${true} />
    ${statuses.failed > 0 && html`<h3>Failures</h3>
      <${Bars} label="Failures by kind" items=${byCount(failures).map(([kind, found]) => ({
        name: kind.replaceAll("_", " "), value: found / statuses.failed, text: count(found),
      }))} />
      <p><a href=${failedOf(all ?? own)}>See what failed</a></p>`}`;
}

/** The refused requests, which have no records. */
export function Refused({ refused }) {
  if (refused.count === 0) return html`<${Empty}>No request was refused.<//>`;
  const bars = (counts) => byCount(counts).slice(0, MOST_BARS)
    .map(([name, found]) => ({ name, value: found / refused.count, text: count(found) }));
  const statuses = (counts) => Object.entries(counts).map(([status, found]) => `${status}: ${count(found)}`).join(", ");
  return html`
    <p>${many(refused.count, "request")} ${refused.count === 1 ? "was" : "were"} answered with 4xx, and left no
      record.</p>
    <h3>By status</h3><${Bars} label="Refused requests by status" items=${bars(refused.statuses)} />
    <h3>By route</h3><${Bars} label="Refused requests by route" items=${bars(refused.routes)} />
    <${Sheet} label="Refused requests by day" heads=${["Day (UTC)", "Requests", "By status"]}
      rows=${refused.days.map((one) => [one.day, count(one.count), statuses(one.statuses)])} />`;
}

/** How long predictions took. */
export function Latency({ statistics }) {
  const { latency } = statistics.total;
  const measured = Object.keys(PARTS).filter((part) => latency[part].count > 0);
  if (measured.length === 0) return html`<${Empty}>No prediction of this time was measured.<//>`;
  const shown = measured.includes("inference_ms") ? "inference_ms" : measured[0];
  return html`
    <${OverTime} label=${PARTS[shown]} figures=${statistics} unit="ms"
      series=${PERCENTILES.map((name) => ({ name, of: (bucket) => bucket.latency[shown][name] }))} />
    <${Sheet} label="Latency overall" heads=${["Part", ...PERCENTILES, "Mean", "Measured"]}
      rows=${measured.map((part) => [
        PARTS[part], ...[...PERCENTILES, "mean"].map((name) => duration(latency[part][name])),
        count(latency[part].count),
      ])} />
    <p class="muted">A percentile is within ${percent(statistics.error_of_percentiles)} of the value it stands
      for.</p>`;
}

/** How sure the model was. */
export function Confidence({ statistics }) {
  const { confidence } = statistics.total;
  if (confidence.count === 0) return html`<${Empty}>The predictions of this time have no confidence.<//>`;
  const all = confidence.histogram.length;
  const bins = confidence.histogram.map((found, at) => ({ from: at / all, to: (at + 1) / all, count: found }));
  return html`
    <p>On average ${percent(confidence.mean)} sure, over ${many(confidence.count, "prediction")}.
      ${" "}<a href=${recordsOf(statistics, { order: "confidence" })}>See the least sure</a></p>
    <${Histogram} label="Confidence" bins=${bins} format=${percent} />
    <${OverTime} label="Mean confidence over time" figures=${statistics} format=${percent} zero=${false}
      series=${[{ name: "mean confidence", of: (bucket) => bucket.confidence.mean }]} />`;
}

const labelName = (label) => label === "" ? "(empty)" : label;

/** The predicted labels, in total and over time. `statistics` are grouped by label. */
export function Labels({ statistics }) {
  const { labels, other_labels: rest } = statistics.total;
  const found = Object.entries(labels);
  if (found.length === 0) return html`<${Empty}>The predictions of this time have no label.<//>`;
  const all = found.reduce((sum, [, times]) => sum + times, rest);
  const over = statistics.buckets.map(({ labels: own, other_labels: others, groups }) => ({
    all: Object.values(own).reduce((sum, times) => sum + times, others),
    counts: new Map(groups.map((one) => [one.label, one.count])),
  }));
  const share = (label) => over.map((one) => one.all === 0 ? null : (one.counts.get(label) ?? 0) / one.all);
  return html`
    <${Bars} label="Predicted labels" items=${found.slice(0, MOST_BARS).map(([label, times]) => ({
      name: labelName(label), value: times / all, text: `${count(times)} (${percent(times / all)})`,
      href: label === "" ? null : recordsOf(statistics, { label }),
    }))} />
    ${found.length > MOST_BARS && html`<p class="muted">The ${MOST_BARS} most frequent of
      ${rest > 0 ? " more than" : ""} ${count(found.length)} labels.</p>`}
    <h3>Share of each label over time</h3>
    <${Multiples} label="Share of each label over time" format=${percent}
      times=${statistics.buckets.map((bucket) => bucketName(bucket.starts_at, statistics.interval))}
      items=${found.slice(0, MOST_SMALL).map(([label]) => ({ name: labelName(label), values: share(label) }))} />
    ${found.length > MOST_SMALL && html`<p class="muted">Of the ${MOST_SMALL} most frequent labels.</p>`}`;
}

/** The figures of statistics that are one number each: `[name, value, format]`. */
export function usageRows({ total }) {
  const { p50, p99 } = total.latency.inference_ms;
  return [
    ["Predictions", total.statuses.succeeded, count],
    ["Running the model, p50", p50, duration],
    ["Running the model, p99", p99, duration],
    ["Mean confidence", total.confidence.mean, percent],
  ].filter(([, value]) => value !== null);
}

/** The figures to show first. */
export function UsageFacts({ own, all }) {
  const { total } = own;
  const { failed } = all.total.statuses;
  const { p50, p99 } = total.latency.inference_ms;
  return html`<${Facts} label="Use" items=${[
    ["Predictions", html`<a href=${recordsOf(own)}>${count(total.count)}</a>`],
    ["Failed, any version", failed === 0 ? "0" : html`<a href=${failedOf(all)}>${count(failed)}</a>`],
    ...total.confidence.count > 0 ? [["Mean confidence", percent(total.confidence.mean)]] : [],
    ["Latency, p50", duration(p50), p99 === null ? "" : `p99 ${duration(p99)}`],
  ]} />`;
}
