/** Small charts as SVG or plain elements. Each has a table with its numbers, for those who cannot see it. */

import { html, useState } from "./html.js";
import { count, number, percent } from "./format.js";

/** The table of a chart. `columns` are headings; `rows` (or what it returns) are lists of texts or elements. */
export function Table({ label, columns, rows }) {
  const [open, setOpen] = useState(false);
  return html`<details class="behind" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>As a table<span class="unseen">: ${label}</span></summary>
    ${open && html`<div class="scroll" tabindex="0" role="group" aria-label=${label}><table aria-label=${label}>
      <thead><tr>${columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${(typeof rows === "function" ? rows() : rows).map((row) => html`<tr>${row.map((cell, at) => (at
        ? html`<td class="number">${cell}</td>` : html`<th scope="row">${cell}</th>`))}</tr>`)}</tbody>
    </table></div>`}
  </details>`;
}

const linked = (name, url) => (url ? html`<a href=${url}>${name}</a>` : name);
const inside = (value) => `${100 * Math.max(0, Math.min(1, value))}%`;

/** Horizontal bars. `items`: `{name, value (0 to 1), text, marked, href}`. They are a list that reads as a table. */
export function Bars({ label, items }) {
  return html`<ol class="bars" aria-label=${label}>
    ${items.map(({ name, value, text, marked, href }) => html`<li class=${marked ? "marked" : ""}>
      <span>${linked(name, href)}</span>
      <span class="bar" style=${{ width: inside(value) }} aria-hidden="true"></span>
      <span class="number">${text ?? percent(value)}</span>
    </li>`)}
  </ol>`;
}

const WIDE = 640;
const HIGH = 160;

/** Counts of numbers. `bins`: `{from, to, count}` in order; those within `chosen` are marked. */
export function Histogram({ label, bins, chosen = null, format = number }) {
  if (bins.length === 0) return null;
  const first = bins[0].from;
  const last = bins.at(-1).to;
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const across = (value) => ((value - first) / (last - first || 1)) * WIDE;
  const within = ({ from, to }) => chosen === null || (to > chosen[0] && from < chosen[1])
    || (from === to && from === chosen[0]);
  return html`<figure class="chart">
    <figcaption>${label}</figcaption>
    <svg class="stretched" viewBox=${`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" role="img"
      aria-label=${`${label}: histogram from ${format(first)} to ${format(last)}`}>
      ${bins.map((bin) => {
        const height = bin.count === 0 ? 0 : Math.max(2, (bin.count / most) * HIGH);
        return html`<rect class=${within(bin) ? "in" : "out"} x=${across(bin.from)} y=${HIGH - height}
          width=${Math.max(1, across(bin.to) - across(bin.from) - 1)} height=${height}>
          <title>${format(bin.from)} to ${format(bin.to)}: ${count(bin.count)}</title></rect>`;
      })}
      <line class="axis" x1="0" x2=${WIDE} y1=${HIGH} y2=${HIGH} />
    </svg>
    <p class="ends" aria-hidden="true"><span>${format(first)}</span><span>${format(last)}</span></p>
    <${Table} label=${label} columns=${["From", "To", "Count"]}
      rows=${() => bins.map((bin) => [format(bin.from), format(bin.to), count(bin.count)])} />
  </figure>`;
}

/**
 * Counts by what is true (rows) and what was predicted (columns). `counts[row][column]`; `href(truth, predicted)` leads
 * to those behind a cell, or is null.
 */
export function Matrix({ label, labels, counts, href }) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}>
    <table class="matrix" aria-label=${label}>
      <caption>Rows are what is true, columns what was predicted.</caption>
      <thead><tr><td></td>${labels.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${labels.map((truth, row) => {
        const total = counts[row].reduce((sum, value) => sum + value, 0);
        return html`<tr><th scope="row">${truth}</th>${labels.map((predicted, column) => {
          const found = counts[row][column];
          const depth = total ? Math.ceil((found / total) * 4) : 0;
          return html`<td class=${`${row === column ? "right" : "mistake"} depth${depth}`}>
            ${found > 0 && cell(found, truth, predicted, href(truth, predicted))}
          </td>`;
        })}</tr>`;
      })}</tbody>
    </table>
  </div>`;
}

function cell(found, truth, predicted, url) {
  const says = `${count(found)} predicted ${predicted} where ${truth} is true`;
  return url ? html`<a href=${url} aria-label=${says}>${count(found)}</a>` : count(found);
}

const SIDE = 240;

/** How often the model is right (up) at each confidence (across). `bins`: `{confidence, accuracy, count}`. */
export function Calibration({ label, bins }) {
  const told = bins.filter((bin) => bin.count > 0);
  const most = Math.max(1, ...told.map((bin) => bin.count));
  const at = (bin) => [bin.confidence * SIDE, SIDE - bin.accuracy * SIDE];
  return html`<figure class="chart square">
    <figcaption>${label}</figcaption>
    <p class="ends" aria-hidden="true"><span>↑ accuracy</span></p>
    <svg viewBox=${`-8 -8 ${SIDE + 16} ${SIDE + 16}`} role="img" aria-label=${`${label}: accuracy against confidence`}>
      <rect class="frame" width=${SIDE} height=${SIDE} />
      <line class="ideal" x1="0" y1=${SIDE} x2=${SIDE} y2="0" />
      <polyline class="line" points=${told.map((bin) => at(bin).join(",")).join(" ")} />
      ${told.map((bin) => {
        const [x, y] = at(bin);
        return html`<circle cx=${x} cy=${y} r=${2 + 5 * Math.sqrt(bin.count / most)}>
          <title>${percent(bin.confidence)} sure, ${percent(bin.accuracy)} right, of ${count(bin.count)}</title>
        </circle>`;
      })}
    </svg>
    <p class="ends" aria-hidden="true"><span>${percent(0)}</span><span>confidence → ${percent(1)}</span></p>
    <p class="muted">On the dashed line, a model is right as often as it is sure. A larger dot stands for more
      predictions.</p>
    <${Table} label=${label} columns=${["Mean confidence", "Accuracy", "Count"]}
      rows=${() => told.map((bin) => [percent(bin.confidence), percent(bin.accuracy), count(bin.count)])} />
  </figure>`;
}

const SMALL_HIGH = 40;

/**
 * Many small charts over the same times, all alike. `times`: their names; `items`: `{name, values, marks, note, chosen,
 * onChoose}`, where a value is a number or null, and `marks` says which are marked. With `line`, each chart has that
 * line and a scale of its own; without it, all have the same scale.
 */
export function Multiples({ label, times, items, line = null, format = number }) {
  const highest = (values) => Math.max(0, ...values.filter((value) => value !== null));
  const most = Math.max(...items.map(({ values }) => highest(values)));
  const top = (values) => (line === null ? most : Math.max(highest(values), 1.5 * line)) || 1;
  const said = ({ values, marks }, at) =>
    values[at] === null ? "–" : `${format(values[at])}${marks?.[at] ? " (marked)" : ""}`;
  return html`<div class="multiples-behind"><ul class="multiples" aria-label=${label}>
    ${items.map((item) => html`<li><${Small} ...${item} label=${label} times=${times} line=${line} format=${format}
      top=${top(item.values)} highest=${highest(item.values)} /></li>`)}
  </ul>
  <${Table} label=${label} columns=${["Time", ...items.map(({ name }) => name)]}
    rows=${() => times.map((time, at) => [time, ...items.map((item) => said(item, at))])} /></div>`;
}

function Small({ name, values, marks, note = "", chosen = false, onChoose, times, line, format, top, highest }) {
  const up = (value) => SMALL_HIGH - (value / top) * SMALL_HIGH;
  const told = values.some((value) => value !== null);
  const says = told ? `at most ${format(highest)}` : "nothing to tell";
  return html`
    <p class="small-head"><span class="small-name">${onChoose ? html`<button type="button" class="plain"
        aria-pressed=${String(chosen)} onClick=${onChoose}>${name}</button>` : name}</span>
      <span class="muted">${note ? `${note}, ` : ""}${says}</span></p>
    <svg class="stretched small" viewBox=${`0 0 ${values.length} ${SMALL_HIGH}`} preserveAspectRatio="none" role="img"
      aria-label=${`${name}: ${note ? `${note}, ` : ""}${says}, from ${times[0]} to ${times.at(-1)}`}>
      ${values.map((value, at) => value !== null && html`<rect class=${marks ? marks[at] ? "marked" : "out" : "in"}
        x=${at + 0.08} width="0.84" y=${Math.min(up(value), SMALL_HIGH - 1)}
        height=${Math.max(1, SMALL_HIGH - up(value))}>
        <title>${times[at]}: ${format(value)}</title></rect>`)}
      ${line !== null && html`<line class="limit" x1="0" x2=${values.length} y1=${up(line)} y2=${up(line)} />`}
      <line class="axis" x1="0" x2=${values.length} y1=${SMALL_HIGH} y2=${SMALL_HIGH} />
    </svg>`;
}

/** Shares with their intervals, all from 0 to 1. `items`: `{name, value, low, high, text, marked, href}`. */
export function Intervals({ label, items }) {
  const from = Math.min(0.9, Math.floor(10 * Math.min(...items.map(({ low }) => low))) / 10);
  const across = (value) => (value - from) / (1 - from);
  return html`<figure class="chart">
    <figcaption>${label}</figcaption>
    <ol class="bars intervals" aria-label=${label}>
      ${items.map(({ name, value, low, high, text, marked, href }) => html`<li class=${marked ? "marked" : ""}>
        <span>${linked(name, href)}</span>
        <span class="track" aria-hidden="true">
          <span class="band" style=${{ left: inside(across(low)), width: inside(across(high) - across(low)) }}></span>
          <span class="dot" style=${{ left: inside(across(value)) }}></span>
        </span>
        <span class="number">${text ?? percent(value)}</span>
      </li>`)}
      <li aria-hidden="true"><span></span>
        <span class="ends"><span>${percent(from)}</span><span>${percent(1)}</span></span><span></span></li>
    </ol>
    <${Table} label=${label} columns=${["Of", "Share", "Low", "High"]}
      rows=${() => items.map(({ name, value, low, high }) => [name, percent(value), percent(low), percent(high)])} />
  </figure>`;
}

const QUANTILES = { p05: "5 %", p25: "25 %", p50: "half", p75: "75 %", p95: "95 %" };

/** Where numbers lie: half within the box, 90 % within the line. `items`: `{name, p05, p25, p50, p75, p95}`. */
export function Boxes({ label, items, format = number }) {
  const ends = items.flatMap(({ p05, p95 }) => [p05, p95]);
  const from = Math.min(0, ...ends);
  const to = Math.max(0, ...ends);
  const across = (value) => (value - from) / (to - from || 1);
  return html`<figure class="chart">
    <figcaption>${label}</figcaption>
    ${items.map(({ name, p05, p25, p50, p75, p95 }) => html`<div class="box-track" role="img" aria-label=${
        `${name}: half from ${format(p25)} to ${format(p75)}, 90 % from ${format(p05)} to ${format(p95)}`}>
      <span class="whisker" style=${{ left: inside(across(p05)), width: inside(across(p95) - across(p05)) }}></span>
      <span class="box" style=${{ left: inside(across(p25)), width: inside(across(p75) - across(p25)) }}></span>
      <span class="median" style=${{ left: inside(across(p50)) }}></span>
      <span class="zero" style=${{ left: inside(across(0)) }}></span>
    </div>`)}
    <p class="ends" aria-hidden="true"><span>${format(from)}</span><span>${format(to)}</span></p>
    <p class="muted">Half lie within the box, 90 % within the line; the dashes are 0.</p>
    <${Table} label=${label} columns=${["Of", ...Object.values(QUANTILES).map((name) => `${name} below`)]}
      rows=${() => items.map((item) => [item.name, ...Object.keys(QUANTILES).map((name) => format(item[name]))])} />
  </figure>`;
}
