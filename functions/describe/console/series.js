/** Lines and stacked bars over time, drawn by uPlot, which is loaded when the first one is shown. */

import { html, useEffect, useRef, useState } from "./html.js";
import { Table } from "./charts.js";
import { moment, number, percent } from "./format.js";
import { loadScript } from "./script.js";

let loading = null;

function plotter() {
  loading ??= plotterLoaded().catch((problem) => {
    loading = null; // so that the next chart tries again
    throw problem;
  });
  return loading;
}

async function plotterLoaded() {
  const href = import.meta.resolve("./vendor/uPlot.min.css");
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  await loadScript(import.meta.resolve("./vendor/uPlot.iife.min.js"));
  return globalThis.uPlot;
}

const HIGH = 200; // pixels
const FEW = 40; // times: up to so many have a point each
const COLOURS = 8; // that style.css has, as --series-1 and so on
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]]; // Lines differ without their colours, too.
const SECONDS = { minute: 60, hour: 3600, day: 86_400, week: 604_800 };
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 4 });

const utc = (options) => new Intl.DateTimeFormat(undefined, { timeZone: "UTC", ...options });
const onDay = utc({ dateStyle: "medium" });
const atTime = utc({ dateStyle: "medium", timeStyle: "short" });

/** The name of a time: the start of a bucket in UTC, and any other time in the browser's time zone. */
function named(time, width) {
  if (width === null) return moment(time);
  return (width === "day" || width === "week" ? onDay : atTime).format(time);
}

/**
 * Values over time.
 *
 * @param {{label: string, times: Array<Date>, series: Array<{name: string, values: Array<number|null>,
 *   low?: Array<number|null>, high?: Array<number|null>}>, unit?: string, stacked?: boolean, width?: string|null,
 *   format?: (value: number) => string, zero?: boolean}} props `times`: in order; with `width` (minute, hour, day or
 *   week) they are the starts of buckets, in UTC. A value is null where there is nothing. `low` and `high` are drawn as
 *   a band. `stacked` adds the values up. `zero`: whether the scale begins at 0.
 */
export function TimeSeries({
  label, times, series, unit = "", stacked = false, width = null, format = number, zero = true,
}) {
  const frame = useRef(null);
  const readout = useRef(null);
  const [failed, setFailed] = useState(false);
  const scheme = useScheme();
  const drawn = JSON.stringify([times, series, stacked, width, zero]); // Each rendering makes new arrays.
  useEffect(() => {
    let plot = null;
    let watching = null;
    let gone = false;
    plotter().then(
      (uPlot) => {
        if (gone) return;
        setFailed(false);
        const tell = (at) => {
          const said = at === null ? [] : series.map((one) => inWords(one, at, format));
          readout.current.textContent = said.length > 0 ? `${named(times[at], width)}: ${said.join(", ")}` : "";
        };
        plot = draw(uPlot, frame.current, { times, series, stacked, width, format, zero, tell });
        // The observer calls once more after the chart has gone with its view.
        watching = new ResizeObserver(() => frame.current && plot.setSize({ width: frame.current.clientWidth, height: HIGH }));
        watching.observe(frame.current);
      },
      () => gone || setFailed(true),
    );
    return () => {
      gone = true;
      watching?.disconnect();
      plot?.destroy();
      if (readout.current) readout.current.textContent = "";
    };
  }, [drawn, scheme]);
  const columns = [
    ...series.map(({ name, values }) => [name, values]),
    ...series.flatMap(({ name, low, high }) => (low ? [[`${name}, low`, low], [`${name}, high`, high]] : [])),
  ];
  const names = series.map(({ name }) => name).join(", ");
  return html`<figure class="chart">
    <figcaption>${label}${unit && ` (${unit})`}</figcaption>
    ${series.length > 1 && html`<p class=${stacked ? "legend" : "legend lines"} aria-hidden="true">${
      series.map(({ name }, at) => html`<span class=${keyOf(at)}>${name}</span> `)}</p>`}
    <div class="series" ref=${frame} role="img" aria-label=${`${label}: ${names} over time`}></div>
    <p class="readout muted" aria-hidden="true" ref=${readout}></p>
    ${failed && html`<p class="muted" role="status">The chart could not be drawn. The table has its numbers.</p>`}
    <${Table} label=${label} columns=${[width === null ? "Time" : "From (UTC)", ...columns.map(([name]) => name)]}
      rows=${() => times.map((time, at) => [named(time, width), ...columns.map(([, values]) => format(values[at]))])} />
  </figure>`;
}

const keyOf = (at) => `key series-${1 + (at % COLOURS)} dash-${at % DASHES.length}`;

function inWords({ name, values, low, high }, at, format) {
  const between = low && low[at] !== null ? ` (${format(low[at])} to ${format(high[at])})` : "";
  return `${name} ${format(values[at])}${between}`;
}

/** Light or dark. A chart is drawn again when this changes. */
function useScheme() {
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const listener = () => setDark(media.matches);
    media.addEventListener("change", listener);
    return () => media.removeEventListener("change", listener);
  }, []);
  return dark;
}

function added(series) {
  const sums = series[0]?.values.map(() => 0) ?? [];
  return series.map(({ name, values }) => ({ name, values: values.map((value, at) => (sums[at] += value ?? 0)) }));
}

function draw(uPlot, frame, { times, series, stacked, width, format, zero, tell }) {
  const tokens = getComputedStyle(frame);
  const token = (name) => tokens.getPropertyValue(name).trim();
  const faint = { stroke: token("--line"), width: 1 };
  const axis = { stroke: token("--muted"), grid: faint, ticks: faint };
  const shownOnAxis = format === percent ? percent : (value) => compact.format(value);
  const most = format === percent ? 1 : Infinity;
  const options = {
    width: frame.clientWidth, height: HIGH, legend: { show: false }, cursor: { drag: { x: false, y: false }, y: false },
    axes: [
      { ...axis, space: 70, size: 30, values: ticksOf(width) },
      { ...axis, size: 62, values: (_, ticks) => ticks.map(shownOnAxis) },
    ],
    scales: {
      x: { range: (_, first, last) => spread(first, last, stacked ? SECONDS[width] ?? 0 : 0) },
      y: { range: (_, low, high) => reach(low, high, zero, most) },
    },
    ...(width !== null && { tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") }),
    ...drawings(uPlot, stacked ? added(series) : series, times.length, stacked, token),
    hooks: { setCursor: [(plot) => tell(plot.cursor.idx ?? null)] },
  };
  const { rows, ...rest } = options;
  return new uPlot(rest, [times.map((time) => time / 1000), ...rows], frame);
}

/** The lines or bars, with their values as `rows`, and the bands between low and high. */
function drawings(uPlot, series, length, stacked, token) {
  const rows = [];
  const lines = [{}];
  const bands = [];
  const order = series.map((_, at) => at);
  if (stacked) order.reverse(); // drawn from the top down, so that each covers the sum above it
  for (const at of order) {
    const colour = token(`--series-${1 + (at % COLOURS)}`);
    const { name, values, low, high } = series[at];
    const points = length < FEW ? { show: true, size: 5, fill: colour } : {};
    const drawn = stacked
      ? { fill: colour, width: 0, paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }), points: { show: false } }
      : { width: 2, dash: DASHES[at % DASHES.length], points };
    lines.push({ label: name, stroke: colour, ...drawn });
    rows.push(values);
    if (!low) continue;
    for (const edge of [high, low]) {
      lines.push({ stroke: colour, width: 0, points: { show: false } });
      rows.push(edge);
    }
    bands.push({ series: [lines.length - 2, lines.length - 1], fill: `${colour}33` });
  }
  return { series: lines, bands, rows };
}

/** The labels of the time axis: days, or times with the day at midnight; in UTC if there are buckets. */
function ticksOf(width) {
  const zone = width === null ? {} : { timeZone: "UTC" };
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...zone });
  const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...zone });
  return (_, ticks, axis, space, step) => ticks.map((tick) => {
    const moment = new Date(tick * 1000);
    const clock = time.format(moment);
    return step >= SECONDS.day || clock === "00:00" ? day.format(moment) : clock;
  });
}

/** The ends of the time axis, with room on both sides of a single time, and for the width of the last bar. */
function spread(first, last, bar) {
  if (first === null) return [0, 1];
  return first === last && bar === 0 ? [first - 43_200, last + 43_200] : [first, last + bar];
}

/** The ends of the other axis. A share is at most 1. */
function reach(low, high, zero, most) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  const from = low < 0 ? low - room : zero ? 0 : Math.max(0, low - room);
  const to = high > 0 || !zero ? Math.min(high + room, Math.max(high, most)) : low < 0 ? 0 : 1;
  return [from, to];
}
