/** The span of time that figures cover: `since` and `until` of the URL, as in the API. All times are in UTC. */

import { html } from "../html.js";
import { setQuery } from "../route.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MOST_AUTOMATIC_DAYS = 1400; // 200 weeks: `interval=auto` takes no longer span.
const DEFAULT_DAYS = 30; // if the URL has no `since`, as in the API
const HOURLY_DAYS = 3;
const DAILY_DAYS = 120;

const onDay = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const atTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

/** A time in UTC, in which buckets begin. */
export const utc = (iso) => `${atTime.format(new Date(iso))} UTC`;

/** The name of a bucket or a window. */
export function bucketName(iso, width) {
  const moment = new Date(iso);
  if (width === "day") return onDay.format(moment);
  return width === "week" ? `week of ${onDay.format(moment)}` : atTime.format(moment);
}

const dayOf = (time) => new Date(time).toISOString().slice(0, 10);

/** The span in milliseconds since 1970. A text of the URL that is no time is NaN. */
function ends(query) {
  const [since, until] = ["since", "until"].map((name) => query.get(name));
  const end = until ? Date.parse(until) : Date.now();
  return [since ? Date.parse(since) : end - DEFAULT_DAYS * DAY, end];
}

function days(query) {
  const [since, until] = ends(query);
  return (until - since) / DAY;
}

/** The span as a query of the API. It has an `interval` only if `auto` would find none. */
export function spanOf(query) {
  const span = { since: query.get("since"), until: query.get("until") };
  return days(query) > MOST_AUTOMATIC_DAYS ? { ...span, interval: "week" } : span;
}

/** The length of the windows: as the URL says, or what suits the span. */
export function windowOf(query) {
  const span = days(query);
  return query.get("window") ?? (span <= HOURLY_DAYS ? "hour" : span <= DAILY_DAYS ? "day" : "week");
}

/** The spans that are offered: a name, and when each begins. */
function offers(first) {
  const now = Date.now();
  const since = (count) => dayOf(now - count * DAY);
  return [
    ["24 hours", new Date(Math.floor((now - DAY) / HOUR) * HOUR).toISOString().replace(".000Z", "Z")],
    ["7 days", since(7)],
    ["30 days", null],
    ["90 days", since(90)],
    ...first ? [["All", dayOf(first)]] : [],
  ];
}

/** A time as a date field shows it. */
const dateIn = (time) => Number.isNaN(time) ? "" : dayOf(time);

/**
 * The choice of a span of time, which is in the URL.
 *
 * @param {{query: URLSearchParams, first?: string|null, again: () => void}} props `first`: when the first prediction
 *   was made. `again` loads the figures again.
 */
export function SpanChoice({ query, first: oldest = null, again }) {
  const since = query.get("since");
  const until = query.get("until");
  const [first, end] = ends(query);
  const [from, to] = [dateIn(first), dateIn(end - 1)]; // The span ends before `until`: a day that begins then is out.
  const show = (event) => {
    event.preventDefault();
    const chosen = Object.fromEntries(new FormData(event.currentTarget));
    setQuery({
      since: chosen.from === from ? since : chosen.from,
      until: chosen.to === to ? until : chosen.to && dayOf(Date.parse(chosen.to) + DAY),
    });
  };
  const date = (name, says, value) => html`<label>${says}
    ${" "}<input type="date" name=${name} min="1970-01-01" max="8999-12-31" defaultValue=${value} /></label>`;
  return html`<div class="span-choice" role="group" aria-label="Time">
    <div class="model-choices">${offers(oldest).map(([name, start]) => html`<button type="button"
      aria-pressed=${String(until === null && since === start)}
      onClick=${() => setQuery({ since: start, until: null })}>${name}</button>`)}</div>
    <form key=${`${from} ${to}`} class="model-dates" aria-label="Days" onSubmit=${show}>
      ${date("from", "From", from)}
      ${date("to", "To", to)}
      <button>Show</button>
    </form>
    <button type="button" onClick=${again}>Refresh</button>
  </div>`;
}
