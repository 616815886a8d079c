/** Reads a file of ground truths in CSV, JSON Lines or JSON, whatever program wrote it. It sends nothing. */

import { Rows, separatorOf } from "./csv.js";
import { elements, parsedExactly } from "./json_list.js";

/** The members of a ground truth, by the API's names. */
export const MEMBERS = ["prediction_id", "inference_id", "label", "value", "source", "source_id", "comment"];

const MOST_BYTES = 50_000_000;
const MOST_BYTES_OF_JSON = 10_000_000;
const MOST_LINES = 1_000_000;
const LONGEST_LINE = 1_000_000;
const ELSEWHERE = "split it, or send it to POST /ground_truth";
const SLICE = 65_536;
const OTHER_NAMES = { id: "prediction_id", truth: "", ground_truth: "", class: "label", y_true: "" };

/** The file cannot be read. The message says why, and what would be right. */
class Unreadable extends Error {}

/**
 * Look at the beginning of a file.
 *
 * Returns `{format, encoding, separator, header}`: `format` is "CSV", "JSON Lines" or "JSON"; a CSV has the rest.
 */
export async function look(file) {
  if (file.size === 0) throw new Unreadable("The file is empty.");
  if (file.size > MOST_BYTES) {
    throw new Unreadable(
      `The file has ${Math.ceil(file.size / 1e6)} MB, and at most ${MOST_BYTES / 1e6} MB can be imported here: ${ELSEWHERE}.`,
    );
  }
  const encoding = await encodingOf(file);
  let first = null;
  for await (const { lines } of batches(file.slice(0, 2 * LONGEST_LINE), encoding, {
    cut: file.size > 2 * LONGEST_LINE,
  })) {
    first = lines.find(({ text }) => text.trim());
    if (first) break;
  }
  if (!first) throw new Unreadable("The file has no line with text.");
  const begins = first.text.trim();
  if (begins.startsWith("[")) return { format: "JSON", encoding };
  if (begins.startsWith("{")) {
    const one = parsed(begins);
    return { format: one === undefined || Array.isArray(one?.items) ? "JSON" : "JSON Lines", encoding };
  }
  const said = /^"?sep=(.)"?$/i.exec(begins); // a line that only Excel knows
  if (said)
    return {
      format: "CSV",
      encoding,
      separator: said[1],
      header: await headerOf(file, encoding, said[1], first.number),
    };
  const separator = separatorOf(first.text);
  if (separator === null) {
    throw new Unreadable(
      `Line ${first.number} has one value only. A CSV names its columns first, such as: prediction_id,label`,
    );
  }
  return { format: "CSV", encoding, separator, header: await headerOf(file, encoding, separator, first.number - 1) };
}

async function headerOf(file, encoding, separator, after) {
  const rows = new Rows(separator);
  for await (const { lines } of batches(file, encoding)) {
    for (const { text, number } of lines) {
      if (number <= after || !text.trim()) continue;
      const row = rows.take(text, number);
      if (row?.malformed) throw new Unreadable(`Line ${row.line}: ${row.malformed}.`);
      if (row) return { line: number, names: row.cells.map((name) => name.trim()) };
    }
  }
  throw new Unreadable("The names of the columns have a quote that is opened and not closed.");
}

/** Return which member each column is, by its name or by a name that others use; null if neither tells. */
export function columnsOf(names, task) {
  const columns = names.map((name) => {
    const known = name.toLowerCase().replaceAll(/[\s-]+/g, "_");
    if (MEMBERS.includes(known)) return known;
    if (!Object.hasOwn(OTHER_NAMES, known)) return null;
    return OTHER_NAMES[known] || (task === "classification" ? "label" : "value");
  });
  return columns.map((column, at) => (columns.indexOf(column) === at ? column : null));
}

/** Return what is wrong with the columns, or null. */
export function wrongWith(columns) {
  const has = (name) => columns.includes(name);
  const twice = columns.find((name, at) => name !== null && columns.indexOf(name) !== at);
  if (twice) return `Two columns are ${twice}: choose one.`;
  if (!has("prediction_id") && !has("inference_id"))
    return "Choose the column that says which prediction: prediction_id or inference_id.";
  if (!has("label") && !has("value"))
    return "Choose the column that says what is true: label, or value of what is no classification.";
  return null;
}

/**
 * Yield lists of items in the order of the file. Each item has `line`, and either `malformed`, the reason why it is no
 * ground truth, or `text`, its JSON, with `id`, `truth` and `said`, which is equal for equal ground truths. `read` is
 * how many bytes of the file have been read.
 */
export async function* items(file, { format, encoding, separator, header }, columns) {
  if (format === "JSON") {
    yield* itemsOfJson(await wholeText(file, encoding));
    return;
  }
  const rows = format === "CSV" ? new Rows(separator) : null;
  for await (const { lines, read } of batches(file, encoding)) {
    const found = [];
    for (const { text, number } of lines) {
      if (rows === null) {
        if (text.trim()) found.push(itemOfJson(text, number));
      } else if (number > header.line) {
        if (rows.open === null && text === "") continue;
        const row = rows.take(text, number);
        if (row && (row.malformed || row.cells.some(Boolean))) found.push(itemOfRow(row, header.names, columns));
      }
    }
    yield { found, read };
  }
  if (rows?.open)
    yield {
      found: [
        { line: rows.open, malformed: "a quote is opened here and never closed: nothing after it could be read" },
      ],
      read: file.size,
    };
}

/** Yield the lines of a file with their numbers, some at a time, so that the page can respond in between. */
async function* batches(file, encoding, { cut = false } = {}) {
  const decoder = new TextDecoder(encoding, { fatal: true });
  let rest = "";
  let number = 0;
  for (let at = 0; at < file.size; at += SLICE) {
    const last = at + SLICE >= file.size;
    const bytes = await bytesOf(file.slice(at, at + SLICE));
    let text;
    try {
      text = rest + decoder.decode(bytes, { stream: !last || cut });
    } catch {
      const before = rest + new TextDecoder(encoding).decode(bytes).split("\ufffd")[0];
      const line = number + before.split(/\r\n|\n|\r/).length;
      throw new Unreadable(`Line ${line} is not ${encoding.toUpperCase()}: save the file as “CSV UTF-8”.`);
    }
    const held = text.endsWith("\r") && !last ? 1 : 0; // the line feed may be in the next slice
    const lines = text.slice(0, text.length - held).split(/\r\n|\n|\r/);
    if (!last || cut) rest = lines.pop() + (held ? "\r" : "");
    if (rest.length > LONGEST_LINE)
      throw new Unreadable(
        `Line ${number + lines.length + 1} is longer than ${LONGEST_LINE} characters: this is no ground truth.`,
      );
    yield { lines: lines.map((line) => ({ text: line, number: ++number })), read: Math.min(at + SLICE, file.size) };
    if (number > MOST_LINES)
      throw new Unreadable(`The file has more than ${MOST_LINES} lines: split it, or send it to POST /ground_truth.`);
  }
}

async function bytesOf(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new Unreadable(
      "This cannot be read. Is it a folder, or has the file been changed or removed since it was chosen? Choose it again.",
    );
  }
}

async function encodingOf(file) {
  const [first, second, ...others] = await bytesOf(file.slice(0, 64));
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (first === 0x50 && second === 0x4b)
    throw new Unreadable("This is a spreadsheet or an archive: save it as “CSV UTF-8”, and choose that.");
  if (second === 0 && first !== 0) return "utf-16le";
  if (first === 0 && second !== 0) return "utf-16be";
  if ([first, second, ...others].includes(0))
    throw new Unreadable("This file is no text: choose a CSV, JSON Lines or JSON.");
  return "utf-8";
}

async function wholeText(file, encoding) {
  if (file.size > MOST_BYTES_OF_JSON)
    throw new Unreadable(
      `JSON can have ${MOST_BYTES_OF_JSON / 1e6} MB here: write one object a line (JSON Lines), or ${ELSEWHERE}.`,
    );
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(await bytesOf(file));
  } catch (error) {
    throw error instanceof Unreadable ? error : new Unreadable(`The file is not ${encoding.toUpperCase()}.`);
  }
}

function itemOfRow({ line, cells, malformed }, names, columns) {
  if (malformed) return { line, malformed };
  if (cells.length !== names.length)
    return { line, malformed: `this row has ${cells.length} values, and the first row names ${names.length}` };
  const members = {};
  const texts = [];
  for (const [at, name] of columns.entries()) {
    const cell = cells[at];
    if (name === null || cell === "") continue;
    if (name === "value") {
      if (parsed(cell) === undefined)
        return {
          line,
          id: idOf(members),
          malformed: `value must be JSON, a number such as 3.2 or a list such as [1, 2], and is ${cell.slice(0, 50)}`,
        };
      texts.push(`"value":${cell.replaceAll("\n", " ")}`); // as it was written: a number may have more digits than ours
    } else {
      texts.push(`"${name}":${JSON.stringify(cell)}`);
    }
    members[name] = cell;
  }
  return item(line, `{${texts.join(",")}}`, members);
}

function itemOfJson(text, line) {
  const members = parsed(text);
  if (members === undefined) return { line, malformed: "this is no JSON" };
  if (members === null || typeof members !== "object" || Array.isArray(members))
    return { line, malformed: "this is no JSON object" };
  return item(line, text.replaceAll(/[\r\n]+/g, " "), members);
}

function item(line, text, members) {
  const { prediction_id, inference_id, label, value, ...others } = members;
  const truth = label ?? (typeof value === "string" || value === undefined ? value : JSON.stringify(value));
  const said = JSON.stringify([
    label ?? null,
    value ?? null,
    Object.entries(others)
      .filter(([, one]) => one !== null)
      .sort(),
  ]);
  return { line, text, id: idOf(members), truth, said };
}

function idOf({ prediction_id, inference_id }) {
  if (typeof prediction_id === "string") return { name: "prediction_id", value: prediction_id };
  return typeof inference_id === "string" ? { name: "inference_id", value: inference_id } : null;
}

/** Yield the elements of a list, or of the member `items` of an object, as the file has them. */
async function* itemsOfJson(text) {
  let whole;
  try {
    whole = JSON.parse(text);
  } catch (error) {
    throw new Unreadable(`The file is no JSON: ${error.message}.`);
  }
  if (!Array.isArray(whole)) {
    if (!Array.isArray(whole?.items))
      throw new Unreadable('The JSON has no list of ground truths: it is {"items": […]}, or a list.');
    const more = Object.keys(whole).find((name) => name !== "items");
    if (more) throw new Unreadable(`The JSON has the member “${more}” beside items: leave it out.`);
  }
  let found = [];
  for (const { start, end, line } of elements(text, text.indexOf("["))) {
    found.push(itemOfJson(text.slice(start, end).trim(), line));
    if (found.length === 2000) {
      yield { found, read: end };
      found = [];
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  yield { found, read: text.length };
}

function parsed(text) {
  try {
    return parsedExactly(text);
  } catch {
    return undefined;
  }
}
