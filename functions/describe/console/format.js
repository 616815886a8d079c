/** Numbers, times and predictions as people read them, in the browser's language. */

import { useEffect, useState } from "./html.js";

const EVERY = 10_000; // Milliseconds after which it is said again how long ago something was.

const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
// Six digits, but all of those before the point: 1234567 is not 1,234,570.
const precise = new Intl.NumberFormat(undefined, {
  maximumSignificantDigits: 6, maximumFractionDigits: 0, roundingPriority: "morePrecision",
});
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** What stands between the members of a list: a semicolon where a comma is within numbers, as in 31,3. */
export const BETWEEN = precise.format(0.5).includes(",") ? "; " : ", ";

const NOTHING = "–";
const isNothing = (value) => value === null || value === undefined;

/** A share between 0 and 1. */
export const percent = (value) => (isNothing(value) ? NOTHING : share.format(value));

/** Any number. */
export const number = (value) => (isNothing(value) ? NOTHING : precise.format(value));

/** How many. */
export const count = (value) => (isNothing(value) ? NOTHING : whole.format(value));

/** A time of the API as the browser's local time. */
export const moment = (iso) => (isNothing(iso) ? NOTHING : exact.format(new Date(iso)));

/** How long ago a time was, for as long as it is shown. */
export function Ago({ time }) {
  const [, say] = useState({});
  useEffect(() => {
    const timer = setInterval(() => say({}), EVERY);
    return () => clearInterval(timer);
  }, []);
  return ago(time);
}

function ago(iso) {
  const seconds = (new Date(iso) - Date.now()) / 1000;
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return relative.format(Math.trunc(seconds), "second");
}

/** Milliseconds. */
export function duration(milliseconds) {
  if (isNothing(milliseconds)) return NOTHING;
  return milliseconds < 1000 ? `${precise.format(Number(milliseconds.toPrecision(3)))} ms` : `${precise.format(Number((milliseconds / 1000).toPrecision(3)))} s`;
}

/** Bytes. */
export function bytes(size) {
  if (isNothing(size)) return NOTHING;
  if (size < 1000) return `${whole.format(size)} B`;
  return size < 1e6 ? `${precise.format(Number((size / 1e3).toPrecision(3)))} kB` : `${precise.format(Number((size / 1e6).toPrecision(3)))} MB`;
}

/** A label, a value, a list or an object as text. */
export function shown(value) {
  if (isNothing(value)) return NOTHING;
  if (Array.isArray(value)) return value.map(shown).join(BETWEEN);
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" ? number(value) : String(value);
}
