/** The span of time that figures are of: `since` and `until` of the URL, as the API has them. All in UTC. */

import { html } from "../html.js";
import { setQuery } from "../route.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MOST_AUTOMATIC_DAYS = 1400; // 200 weeks: `interval=auto` takes no longer span.
const DEFAULT_DAYS = 30; // where the URL does not say since when, as the API has it
const HOURLY_DAYS = 3;
const DAILY_DAYS = 120;

const onDay = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const atTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

/** A time in UTC: buckets begin there. */
export const utc = (iso) => `${atTime.format(new Date(iso))} UTC`;

/** What a bucket or a window is called. */
export function bucketName(iso, width) {
  const moment = new Date(iso);
  if (width === "day") return onDay.format(moment);
  return width === "week" ? `week of ${onDay.format(moment)}` : atTime.format(moment);
}

const dayOf = (time) => new Date(time).toISOString().slice(0, 10);

/** The span in milliseconds since 1970. NaN stands for what the URL has and is no time. */
function ends(query) {
  const [since, until] = ["since", "until"].map((name) => query.get(name));
  const end = until ? Date.parse(until) : Date.now();
  return [since ? Date.parse(since) : end - DEFAULT_DAYS * DAY, end];
}

function days(query) {
  const [since, until] = ends(query);
  return (until - since) / DAY;
}

/** The span as a query of the API; `interval` only where the server would find none by itself. */
export function spanOf(query) {
  const span = { since: query.get("since"), until: query.get("until") };
  return days(query) > MOST_AUTOMATIC_DAYS ? { ...span, interval: "week" } : span;
}

/** How long windows are: as the URL says, or as suits the span. */
export function windowOf(query) {
  const span = days(query);
  return query.get("window") ?? (span <= HOURLY_DAYS ? "hour" : span <= DAILY_DAYS ? "day" : "week");
}

/** What is offered: a name, and since when. */
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

/** What a date field shows of a time. */
const dateIn = (time) => Number.isNaN(time) ? "" : dayOf(time);

/**
 * The choice of a span of time, which is in the URL.
 *
 * @param {{query: URLSearchParams, first?: string|null, again: () => void}} props `first`: when the first prediction
 *   was made. `again` loads what is shown once more.
 */
export function SpanChoice({ query, first: oldest = null, again }) {
  const since = query.get("since");
  const until = query.get("until");
  const [first, end] = ends(query);
  const [from, to] = [dateIn(first), dateIn(end - 1)]; // It ends before `until`: a day that begins then is not in it.
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
