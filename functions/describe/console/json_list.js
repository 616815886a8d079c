/** Reads JSON without rounding: a number may have more digits than JavaScript keeps. */

/** Yield `start`, `end` and `line` of each element of the list that begins at `open` in a text that is JSON. */
export function* elements(text, open) {
  let [depth, quoted, start, line, at] = [0, false, open + 1, text.slice(0, open).split("\n").length, open + 1];
  let from = null; // the line of the element's first character
  for (; at < text.length; at += 1) {
    const character = text[at];
    if (character === "\n") line += 1;
    else if (from === null && !/\s/.test(character)) from = line;
    if (quoted) {
      if (character === "\\") at += 1;
      else if (character === '"') quoted = false;
    } else if (character === '"') {
      quoted = true;
    } else if (character === "[" || character === "{") {
      depth += 1;
    } else if (depth > 0 && (character === "]" || character === "}")) {
      depth -= 1;
    } else if (depth === 0 && (character === "," || character === "]")) {
      if (text.slice(start, at).trim()) yield { start, end: at, line: from };
      if (character === "]") return;
      [start, from] = [at + 1, null];
    }
  }
}

/** Parse JSON. If the browser can, an integer that JavaScript would round is later written with its own digits. */
export function parsedExactly(text) {
  if (!JSON.rawJSON || !/(^|[^\d.])\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, { source }) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) ? JSON.rawJSON(source) : value,
  );
}
