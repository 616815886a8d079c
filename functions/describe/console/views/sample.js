/**
 * Where a review's records come from: the least sure first, or a random sample.
 *
 * A sample must give each record the same chance, or the accuracy of what was reviewed says nothing of the rest. The
 * API has no random order: PostgreSQL would have to read the whole ledger for it. But it counts (`GET /statistics`),
 * and it finds the records of a span of time. So: choose a part of the time with a probability proportional to its
 * count, a part of this part in the same way, and so on until it has few records. Of these `n`, `k` meet the query: one
 * of them is taken, or with a probability of `1 - k / n` none. If `N` are counted in all, the chance of a record is
 * `n / N * k / n * 1 / k = 1 / N` at each draw, however uneven the traffic is. Where few records meet the query, all of
 * them are read and shuffled.
 */

import { get } from "../api.js";
import { spanOf } from "./model_span.js";
import { microseconds, timeOf } from "./times.js";

const LIMIT = 20; // Records of a page, least sure first.
const FEW = 300; // Records that are read at once.
const SMALL = 64; // A part of the time with so few records is not divided any further,
const SHORT = 2; // and neither is one of so few microseconds.
const DRAWS = 40; // Draws without a record before it gives up for now.
const SPAN = 30 * 86_400_000_000; // Microseconds before the newest record, if the query has no `since`.

/** The records of a query that have a confidence, least sure first. */
export class LeastSure {
  constructor(search) {
    this.search = search;
    this.cursor = null;
    this.done = false;
  }

  /** Return some more records; none if `done`. */
  async more(signal) {
    const query = new URLSearchParams(this.search);
    query.set("order", "confidence");
    query.set("limit", LIMIT);
    if (this.cursor !== null) query.set("cursor", this.cursor);
    const page = await get("/predictions", query, { signal });
    this.cursor = page.next_cursor;
    this.done = page.next_cursor === null;
    return page.predictions;
  }
}

/** A random sample of the records of a query. */
export class Sample {
  constructor(search, random = Math.random) {
    this.search = search;
    this.random = random;
    this.seen = new Set();
    this.root = null;
    this.done = false;
    /** The span of time that it samples: `{since, until}`, or null for all records. */
    this.span = null;
  }

  /** Return some more records; none if `done`. */
  async more(signal) {
    if (this.root === null) {
      const { records, all } = await this.newest(signal);
      if (all) {
        this.done = true;
        return shuffled(records, this.random);
      }
      const span = new URLSearchParams(this.search);
      if (!span.get("since")) span.set("since", timeOf(microseconds(records[0].created_at) - SPAN));
      const root = await this.counted(span, signal);
      this.root = root;
      this.span = { since: root.since, until: root.until };
    }
    for (let draw = 0; draw < DRAWS; draw += 1) {
      const record = await this.draw(signal);
      if (record) return [record];
    }
    throw new Error("Hardly any record of this time matches all filters, so a sample takes too long: choose a " +
      "shorter time, or fewer filters.");
  }

  /** The newest records, and whether these are all of them. */
  async newest(signal) {
    const query = new URLSearchParams(this.search);
    query.set("limit", FEW);
    const { predictions: records, next_cursor: cursor } = await get("/predictions", query, { signal });
    return { records, all: cursor === null };
  }

  /** A span with its parts: `{since, until, n, parts}`, times in microseconds. */
  async counted(span, signal) {
    const answer = await this.ask(span, signal);
    const since = microseconds(answer.since);
    const until = microseconds(answer.until);
    const parts = answer.buckets.map((bucket) => ({
      since: Math.max(since, microseconds(bucket.starts_at)),
      until: Math.min(until, microseconds(bucket.ends_at)),
      n: this.countOf(bucket),
      finest: answer.interval === "minute",
    })).filter((part) => part.n > 0 && part.since < part.until);
    return { since, until, parts };
  }

  ask(span, signal) {
    const asked = { model: span.get("model"), version: span.get("version"), ...spanOf(span) };
    return get("/statistics", asked, { signal });
  }

  /** How many of the counted records can match the query: those with its label or its status. */
  countOf(figures) {
    const query = new URLSearchParams(this.search);
    if (query.has("label")) return figures.labels[query.get("label")] ?? figures.other_labels;
    return figures.statuses[query.get("status")] ?? figures.count;
  }

  /** A record, or null. */
  async draw(signal) {
    let part = this.root;
    while (part.parts || (part.n > SMALL && part.until - part.since > SHORT)) {
      part.parts ??= await (part.finest ? this.halves(part, signal) : this.finer(part, signal));
      part = chosen(part.parts, this.random);
      if (part === null) return null; // The records have been deleted meanwhile.
    }
    const records = await this.within(part, signal);
    if (this.random() >= records.length / part.n) return null;
    const record = records[Math.floor(this.random() * records.length)];
    if (this.seen.has(record.prediction_id)) return null;
    this.seen.add(record.prediction_id);
    return record;
  }

  async finer(part, signal) {
    return (await this.counted(this.only(part), signal)).parts;
  }

  /** Two halves of a part. They are counted by spans: the buckets of the API are at least a minute long. */
  async halves({ since, until, n }, signal) {
    const middle = Math.floor((since + until) / 2);
    const first = { since, until: middle, finest: true };
    first.n = Math.min(n, this.countOf((await this.ask(this.only(first), signal)).total));
    return [first, { since: middle, until, n: n - first.n, finest: true }];
  }

  async within(part, signal) {
    const query = this.only(part);
    query.set("limit", FEW);
    const records = [];
    do {
      const page = await get("/predictions", query, { signal });
      records.push(...page.predictions);
      query.set("cursor", page.next_cursor ?? "");
    } while (query.get("cursor"));
    return records;
  }

  only({ since, until }) {
    const query = new URLSearchParams(this.search);
    query.set("since", timeOf(since));
    query.set("until", timeOf(until));
    return query;
  }
}

/** Choose one of several parts, with a probability proportional to its count. */
function chosen(parts, random) {
  let at = random() * parts.reduce((total, part) => total + part.n, 0);
  for (const part of parts) {
    at -= part.n;
    if (at < 0) return part;
  }
  return null;
}

/** Shuffle a list so that every order is equally likely (Fisher and Yates). */
function shuffled(list, random) {
  const result = [...list];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

const Z = 1.959963984540054; // Of the normal distribution, for 95 %.

/** The 95 % confidence interval of a share (Wilson 1927): `[low, high]`, or null for a share of nothing. */
export function wilson(right, of) {
  if (!of) return null;
  const share = right / of;
  const middle = share + Z * Z / (2 * of);
  const half = Z * Math.sqrt(share * (1 - share) / of + Z * Z / (4 * of * of));
  const whole = 1 + Z * Z / of;
  return [Math.max(0, (middle - half) / whole), Math.min(1, (middle + half) / whole)];
}
