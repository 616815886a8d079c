/** Times of the API, to the microsecond: a Date of JavaScript has milliseconds. */

/** A time of the API in microseconds since 1970. */
export function microseconds(time) {
  const [, fraction = ""] = /\.(\d+)/.exec(time) ?? [];
  const milliseconds = Date.parse(time.replace(/\.\d+/, ""));
  return milliseconds * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** The time of the API for microseconds since 1970. */
export function timeOf(micros) {
  const rest = String(((micros % 1_000_000) + 1_000_000) % 1_000_000).padStart(6, "0");
  return `${new Date(Math.floor(micros / 1_000_000) * 1000).toISOString().slice(0, 19)}.${rest}Z`;
}
