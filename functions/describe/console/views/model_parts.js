/** The building blocks of the models view. */

import { count, percent } from "../format.js";
import { html } from "../html.js";
import { href, setQuery } from "../route.js";
import { TimeSeries } from "../series.js";
import { Failed, Loading } from "../states.js";

/**
 * A region with a heading. It shows what was loaded once it is there, or says why there is nothing.
 *
 * @param {{name: string, load: object, show: (value: object) => any, before?: any, wide?: boolean}} props
 *   `load`: as returned by `useLoad`. `before`: is always shown.
 */
export function Section({ name, load, show, before = null, wide = false }) {
  const { value, problem, loading, again } = load;
  const id = `models-${name.toLowerCase().replaceAll(" ", "-")}`;
  const wideness = wide ? "figure-section wide" : "figure-section";
  return html`<section class=${wideness} aria-labelledby=${id} aria-busy=${String(loading)}>
    <h2 id=${id}>${name}</h2>
    ${before}
    ${loading && html`<${Loading} />`}
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${!problem && value !== null && show(value)}
  </section>`;
}

/**
 * Figures with their names.
 *
 * @param {{label: string, items: Array<[string, any, any?]>}} props Name, value and an optional note.
 */
export function Facts({ label, items }) {
  return html`<dl class="model-facts" aria-label=${label}>
    ${items.map(([name, value, note]) => html`<div>
      <dt>${name}</dt><dd>${value}${note && html`<small class="muted">${note}</small>`}</dd>
    </div>`)}
  </dl>`;
}

/**
 * A table that scrolls by itself if it is wider than the screen.
 *
 * @param {{label: string, heads: Array<string>, rows: Array<Array<any>>, text?: number}} props The first `text` columns
 *   are texts (1), the others numbers.
 */
export function Sheet({ label, heads, rows, text = 1 }) {
  const kind = (at) => at < text ? undefined : "number";
  return html`<div class="scroll" role="region" tabindex="0" aria-label=${label}>
    <table aria-label=${label}>
      <thead><tr>${heads.map((head, at) => html`<th scope="col" class=${kind(at)}>${head}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr>${row.map((cell, at) => at === 0
        ? html`<th scope="row">${cell}</th>`
        : html`<td class=${kind(at)}>${cell}</td>`)}</tr>`)}</tbody>
    </table>
  </div>`;
}

/** A button that shows all of a long list, or only its beginning again, by a member of the URL's query. */
export function ShowAll({ name, query, most, of, what = "" }) {
  if (of <= most) return null;
  const all = query.get(name) === "all";
  return html`<p><button type="button" onClick=${() => setQuery({ [name]: all ? null : "all" }, { replace: true })}>
    Show ${all ? `the first ${count(most)}` : `all ${count(of)}`}${what && ` ${what}`}</button></p>`;
}

/**
 * Values over the buckets of an answer.
 *
 * @param {{figures: object, buckets?: Array<object>, series: Array<object>}} props The answer; its buckets, or those of
 *   one target; for each line its name, and how to get its value, `low` and `high` from a bucket. The rest is as in
 *   `TimeSeries`.
 */
export function OverTime({ figures, buckets = figures.buckets, series, ...more }) {
  const taken = (of) => of && buckets.map((bucket) => of(bucket) ?? null);
  return html`<${TimeSeries} ...${more} width=${figures.interval}
    times=${figures.buckets.map((bucket) => new Date(bucket.starts_at))}
    series=${series.map(({ name, of, low, high }) => (
      { name, values: taken(of), low: taken(low), high: taken(high) }))} />`;
}

/** An interval of a share, in words; "" without one. */
export const between = (interval) => (interval ? `${percent(interval.low)} to ${percent(interval.high)}` : "");

/** "1 prediction", "2 predictions". */
export const many = (found, one) => `${count(found)} ${one}${found === 1 ? "" : "s"}`;

/**
 * The URL of the records behind a figure.
 *
 * @param {object} figures The answer that has the figure: its model, version and span of time, as the server has them.
 * @param {object} filters What else the records have in common.
 */
export function recordsOf({ model, version, since, until }, filters = {}) {
  return href("records", [], { model, version, since, until, ...filters });
}

/** The part of a bucket that lies within the span of its answer: the first and the last may reach beyond it. */
export function within({ since, until }, { starts_at: starts, ends_at: ends }) {
  // Compared as dates, kept as texts: a date has no microseconds.
  return {
    since: new Date(since) >= new Date(starts) ? since : starts,
    until: new Date(ends) <= new Date(until) ? ends : until,
  };
}

/** Return the item of `Intervals` for a version, as `GET /models` has it. */
export function rated({ accuracy, accuracy_interval: interval }, more) {
  return { value: accuracy, ...interval, text: `${percent(accuracy)} (${between(interval)})`, ...more };
}
