/**
 * The inputs that were sent to be predicted, and their answers. The list outlives the view: a user who opens another
 * view and comes back finds the answers.
 */

import { Problem, send } from "./api.js";
import { bytes } from "./format.js";
import { useEffect, useState } from "./html.js";

const AT_ONCE = 3; // Requests. More would only wait in the browser or for the model.
const MOST_PIXELS = 1600; // On each side of a smaller copy.
const AROUND = 1000; // Bytes of a request beside the file and its name.

const { most_bytes: mostBytes, uploads } = JSON.parse(document.querySelector('meta[name="sending"]').content);

let items = []; // The newest first.
const listeners = new Set();

/**
 * One input.
 *
 * @typedef {object} Item
 * @property {string} key Its Idempotency-Key, the same in every attempt, so that nothing is stored twice.
 * @property {string} name
 * @property {string} same Equal for equal inputs; "" if that is not known.
 * @property {Blob|null} content The picture, if it is one.
 * @property {string|null} picture A blob URL of it.
 * @property {function({told: function, anew: boolean}): Promise<object>} request Makes the arguments of `send`. `told`
 *   gets `sent`; `anew`: the API refused what it made before.
 * @property {"waiting"|"asked"|"answered"|"failed"} state
 * @property {{loaded: number, total: number}|null} sent How many of its bytes are in the bucket for uploads.
 * @property {object|null} record
 * @property {Error|null} problem
 */

/** All items, the newest first; the component is rendered again when one changes. */
export function useAsked() {
  const [, setTurn] = useState(0);
  useEffect(() => {
    const changed = () => setTurn((turn) => turn + 1);
    listeners.add(changed);
    changed();
    return () => listeners.delete(changed);
  }, []);
  return items;
}

function change(key, changes) {
  items = items.map((item) => (item.key === key ? { ...item, ...changes } : item));
  for (const listener of [...listeners]) listener();
}

/**
 * Predict inputs. An input that equals one without an answer is the next attempt of that one, or that one itself while
 * it is being sent: the user has pressed twice.
 *
 * @param {{name: string, same?: string, content?: Blob, request: function(): Promise<object>}[]} inputs
 */
export function ask(inputs) {
  const open = inputs.map(({ same }) => same && items.find((item) => item.same === same && item.state !== "answered"));
  items = [
    ...inputs.filter((_, index) => !open[index]).map(({ name, same = "", content = null, request }) => ({
      key: newKey(), name, same, content, picture: content && URL.createObjectURL(content), request, state: "waiting",
      sent: null, record: null, problem: null,
    })).reverse(),
    ...items,
  ];
  for (const listener of [...listeners]) listener();
  for (const item of open.filter(Boolean)) retry(item.key);
  proceed();
}

/** Make a new Idempotency-Key. A page that is served without TLS has no `randomUUID`. */
export const newKey = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-");

/** Try a failed input again, or all of them. */
export function retry(key = null) {
  for (const item of items.filter((one) => one.state === "failed" && (key === null || one.key === key))) {
    change(item.key, { state: "waiting", problem: null, anew: item.problem.kind === "refused" });
  }
  proceed();
}

/** Remove the inputs that are answered or failed from the list. Their records stay. */
export function clearSettled() {
  const over = items.filter(({ state }) => state === "answered" || state === "failed");
  for (const { picture } of over) if (picture) URL.revokeObjectURL(picture);
  items = items.filter((item) => !over.includes(item));
  for (const listener of [...listeners]) listener();
}

function proceed() {
  const free = AT_ONCE - items.filter(({ state }) => state === "asked").length;
  const waiting = items.filter(({ state }) => state === "waiting").reverse(); // The oldest first.
  for (const item of waiting.slice(0, Math.max(0, free))) attempt(item);
}

async function attempt({ key, request, anew = false }) {
  change(key, { state: "asked" });
  try {
    const { headers = {}, ...options } = await request({ told: (sent) => change(key, { sent }), anew });
    change(key, { sent: null });
    const record = await send("POST", "/prediction", { ...options, headers: { ...headers, "Idempotency-Key": key } });
    change(key, { state: "answered", record });
  } catch (problem) {
    change(key, { state: "failed", sent: null, problem });
  }
  proceed();
}

/** Whether a file is too large for a request. */
export const isLarge = (file) => file.size + 4 * (file.name?.length ?? 0) + AROUND > mostBytes;

/** Return how to send a file: in the request or, if it is too large for one, through the bucket for uploads. */
export function requestOfFile(file, filename = file.name) {
  const read = () => contentOf(file);
  if (!isLarge(file)) {
    return async () => {
      const body = new FormData();
      body.append("file", new Blob([await read()], { type: file.type }), filename);
      return { body };
    };
  }
  let upload = null;
  return async ({ told, anew }) => {
    if (!uploads) {
      throw new Problem(
        `The picture is too large: it has ${bytes(file.size)}, and this server takes pictures of less than ${
          bytes(mostBytes)}.`, { kind: "refused", status: 413 });
    }
    const { uploader } = await import("./upload.js");
    upload ??= uploader(file, read, filename);
    return { json: { input_id: await upload(told, anew) } };
  };
}

/** Read a file before it is sent: otherwise a file that is gone would look like a server that is gone. */
async function contentOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Error("This cannot be read. Is it a folder, or has the file been changed, moved or deleted? Choose it again.");
  }
}

/**
 * Make a smaller copy of a picture: a photo may have more bytes than a request has room for.
 *
 * @returns {Promise<Blob>} A JPEG with at most `MOST_PIXELS` on a side.
 */
export async function smallerCopy(content) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(content);
  } catch {
    throw new Error("This browser cannot read the picture, and so cannot make a smaller copy of it.");
  }
  const scale = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

/** Return how to send JSON: as the text that was typed, so that no number loses a digit. */
export function requestOfJson(body) {
  return async () => ({ body, headers: { "Content-Type": "application/json" } });
}
