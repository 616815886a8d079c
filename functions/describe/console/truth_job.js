/**
 * Imports a file of ground truths. It first asks what would become of each, then writes those that the user chooses.
 *
 * A job can be stopped, and a broken connection stops a check; either goes on where it was. What is to be written goes
 * through the outbox, part by part, until it is stored.
 */

import { keyOf, post } from "./outbox.js";
import { items } from "./truth_file.js";

const AT_ONCE = 10_000; // the most that the API takes
const CHARACTERS_AT_ONCE = 1_000_000; // 3 MB at most, and the API takes 4.5 MB
const LINES_KEPT = 200; // of each outcome, to be looked at

/** What may become of a line, and its name on the page. The first four are no faults. */
export const OUTCOMES = {
  new: "new",
  changed: "says something else than now",
  same: "there already",
  repeated: "repeated in the file",
  malformed: "malformed",
  unknown_id: "unknown id",
  unknown_label: "label unknown to the model",
  wrong_kind: "label for a value, or value for a label",
  wrong_shape: "value not like the prediction",
  contradiction: "contradicts an earlier line",
  late: "something else was said since",
  several_users: "id of several users",
  too_many: "id of too many predictions",
  failed: "refused when it was written",
};

const CODES = Object.keys(OUTCOMES);

export class Job {
  /** `ask(truths, {signal})` asks what would become of JSON Lines; `tell()` is called when anything has changed. */
  constructor(file, layout, columns, { ask, tell }) {
    Object.assign(this, { file, layout, columns, ask, tell });
    Object.assign(this, { phase: "checking", running: false, problem: null, broken: false });
    Object.assign(this, { read: 0, total: 0, sent: 0, written: 0, changed: 0, wanted: 0 });
    this.counts = Object.fromEntries(CODES.map((code) => [code, 0]));
    this.lines = Object.fromEntries(CODES.map((code) => [code, []]));
    this.codes = new Uint8Array(1024); // of each item of the file, 0 if not known yet, else 1 + its place in CODES
    this.source = this.#parts(() => true);
    this.queue = [];
  }

  /** Go on with the current phase until it is done, stopped or broken. */
  async run() {
    this.stopping = new AbortController();
    Object.assign(this, { running: true, problem: null });
    this.tell();
    try {
      await this.#drain();
      this.phase = this.phase === "checking" ? "checked" : "written";
    } catch (problem) {
      // A file that cannot be read any further is given up. Anything else can be tried again.
      this.broken ||= problem === this.unreadable;
      if (problem.name !== "AbortError") this.problem = problem;
    }
    this.running = false;
    this.tell();
  }

  /** Stop. What was being sent may have been written; writing it again changes nothing. */
  stop() {
    this.stopping?.abort();
  }

  /** Write the lines with these outcomes. */
  write(outcomes) {
    const wanted = new Set(outcomes.map((outcome) => 1 + CODES.indexOf(outcome)));
    this.wanted = outcomes.reduce((sum, outcome) => sum + this.counts[outcome], 0);
    Object.assign(this, { phase: "writing", read: 0, queue: [], source: this.#parts((code) => wanted.has(code)) });
    return this.run();
  }

  async #drain() {
    for (;;) {
      this.stopping.signal.throwIfAborted();
      if (this.queue.length === 0) {
        const part = await this.#next();
        if (part === null) return;
        this.queue.push(part);
      }
      if (this.queue[0].length === 0) {
        this.queue.shift();
        this.tell();
        continue;
      }
      const rest = await (this.phase === "checking" ? this.#check(this.queue[0]) : this.#write(this.queue[0]));
      this.queue.splice(0, 1, ...rest);
      this.tell();
    }
  }

  async #next() {
    try {
      const { value, done } = await this.source.next();
      return done ? null : value;
    } catch (problem) {
      this.unreadable = problem;
      throw problem;
    }
  }

  /** Yield lists of items with a wanted code, as many as the API takes at once; an empty list is a place to stop. */
  async *#parts(wanted) {
    const first = this.phase === "checking";
    const known = new Map();
    let [part, size, at] = [[], 0, -1];
    for await (const { found, read } of items(this.file, this.layout, this.columns)) {
      for (const item of found) {
        item.at = at += 1;
        if (first) this.#look(item, known);
        if (!wanted(this.codes[at]) || item.malformed || (first && this.codes[at])) continue;
        part.push(item);
        size += item.text.length + 1;
        if (part.length === AT_ONCE || size > CHARACTERS_AT_ONCE) {
          yield part;
          [part, size] = [[], 0];
        }
      }
      this.read = read;
      yield [];
    }
    if (part.length > 0) yield part;
  }

  /** Decide what needs no server: whether a line is malformed, or repeats or contradicts an earlier one of any part. */
  #look(item, known) {
    this.total += 1;
    if (item.at >= this.codes.length) {
      const larger = new Uint8Array(2 * this.codes.length);
      larger.set(this.codes);
      this.codes = larger;
    }
    if (item.malformed) {
      this.#settle(item, "malformed", { detail: item.malformed });
      return;
    }
    if (item.id === null) return;
    const key = keyOf(item.id);
    const earlier = known.get(key);
    if (earlier === undefined) known.set(key, { said: item.said, line: item.line });
    else if (earlier.said === item.said)
      this.#settle(item, "repeated", { detail: `line ${earlier.line} says the same` });
    else
      this.#settle(item, "contradiction", {
        detail: `line ${earlier.line} has another truth for the same id: keep one of them`,
      });
  }

  #settle(item, outcome, { detail = null, current } = {}) {
    if (this.codes[item.at]) return; // it was decided before
    this.codes[item.at] = 1 + CODES.indexOf(outcome);
    this.counts[outcome] += 1;
    this.#keep(item, outcome, detail, current);
  }

  #keep({ line, id = null, truth = null }, outcome, detail, current) {
    if (this.lines[outcome].length < LINES_KEPT) this.lines[outcome].push({ line, id, truth, detail, current });
  }

  async #check(part) {
    let answer;
    try {
      answer = await this.ask(part.map(({ text }) => text).join("\n"), { signal: this.stopping.signal });
    } catch (problem) {
      return this.#halves(part, problem);
    }
    for (const { line, outcome, detail, ground_truth: current } of answer.outcomes) {
      this.#settle(part[line - 1], outcome, { detail, current });
    }
    return [];
  }

  async #write(part) {
    const told = ({ stored, changed }) => {
      Object.assign(this, { written: before.written + stored.length, changed: before.changed + changed });
      this.tell();
    };
    const before = { written: this.written, changed: this.changed };
    const whatOf = (line) => `line ${line} of ${this.file.name}`;
    const said = part.map((item) => ({ id: item.id, text: item.text, what: whatOf(item.line), item }));
    const { done, stop } = post(said, told);
    this.stopping.signal.addEventListener("abort", stop);
    const { refused, superseded, stopped } = await done;
    this.stopping.signal.removeEventListener("abort", stop);
    for (const [{ item }, detail] of refused) this.#fail(item, detail);
    for (const { item } of superseded) this.#fail(item, "a later truth has replaced it");
    if (this.stopping.signal.aborted) return [stopped.map(({ item }) => item)];
    for (const { item } of stopped) this.#fail(item, "dropped before it could be stored");
    return [];
  }

  /** Note that a line was not written, although the check had passed it. */
  #fail(item, detail) {
    this.counts.failed += 1;
    this.#keep(item, "failed", detail);
  }

  /** Take fewer lines at once: if many predictions have the same id, fewer lines fit into one request. */
  #halves(part, problem) {
    if (problem.status !== 413) throw problem;
    if (part.length === 1) {
      this.#settle(part[0], "too_many", { detail: problem.message });
      return [];
    }
    const middle = part.length >> 1;
    return [part.slice(0, middle), part.slice(middle)];
  }
}
