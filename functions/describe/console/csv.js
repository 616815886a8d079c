/** Comma-separated values: read as spreadsheets write them, and written (RFC 4180) so that no spreadsheet runs them. */

const MOST_CELL = 131_072; // characters, as the API has it

/** Reads rows from physical lines, one after the other. A quoted cell may go over several. */
export class Rows {
  constructor(separator) {
    this.separator = separator;
    this.cells = null; // of a row whose last cell is not closed yet
  }

  /** The line at which an unfinished row begins, whose last cell is not closed yet, or null. */
  get open() {
    return this.cells === null ? null : this.line;
  }

  /** Take a line. Returns `{line, cells}` or `{line, malformed}` if it completes a row, else null. */
  take(text, line) {
    let at = 0;
    let quoted = this.cells !== null;
    if (quoted) {
      this.cell += "\n";
    } else {
      if (!text.includes('"')) return { line, cells: text.split(this.separator) };
      Object.assign(this, { cells: [], cell: "", line });
    }
    for (;;) {
      if (quoted) {
        const end = text.indexOf('"', at);
        this.cell += text.slice(at, end < 0 ? undefined : end);
        if (end < 0)
          return this.cell.length > MOST_CELL ? this.#done({ malformed: "a quote is opened and not closed" }) : null;
        if (text[end + 1] === '"') {
          this.cell += '"';
          at = end + 2;
          continue;
        }
        this.cells.push(this.cell);
        if (end + 1 === text.length) return this.#done({ cells: this.cells });
        if (text[end + 1] !== this.separator)
          return this.#done({ malformed: "a quote within a value must be written twice" });
        quoted = false;
        at = end + 2;
      } else if (text[at] === '"') {
        quoted = true;
        this.cell = "";
        at += 1;
      } else {
        const end = text.indexOf(this.separator, at);
        this.cells.push(text.slice(at, end < 0 ? undefined : end));
        if (end < 0) return this.#done({ cells: this.cells });
        at = end + 1;
      }
    }
  }

  #done(found) {
    this.cells = null;
    return { line: this.line, ...found };
  }
}

/** Return the separator of a line: the most frequent of comma, semicolon and tab; null if it has none. */
export function separatorOf(line) {
  const plain = line.replaceAll(/"[^"]*"/g, "");
  const [best, many] = [",", ";", "\t"].map((one) => [one, plain.split(one).length - 1]).sort((a, b) => b[1] - a[1])[0];
  return many > 0 ? best : null;
}

// A spreadsheet takes a cell that begins like this for a formula. Some split at semicolons and tabs even within quotes.
const FORMULA = /(?<=^|[;\t\r\n])(?=[=+\-@\uff1d\uff0b\uff0d\uff20\t\r])/g;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Return a text that no spreadsheet takes for a formula, with an apostrophe before what would begin one. */
const harmless = (text) => (NUMBER.test(text) ? text : text.replaceAll(FORMULA, "'"));

/** Return values as a row, and how many of them got an apostrophe. Objects are written as JSON. */
export function rowOf(values) {
  let changed = 0;
  const cells = values.map((value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    const safe = harmless(text);
    if (safe !== text) changed += 1;
    return /[",;\t\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  });
  return { text: `${cells.join(",")}\r\n`, changed };
}
