/** Uploads what is too large for a request to the bucket, by a URL that the API has signed. */

import { PATIENCE, Problem, send } from "./api.js";

const EXISTS = 412; // The URL replaces nothing: an earlier attempt has arrived, and its answer was lost.
const UNSENDABLE = new Set(["content-length"]); // Headers that only the browser may set.

/**
 * Return a function that uploads a file and resolves to the `input_id` to predict. Called again, it goes on where it
 * stopped: what has arrived is not sent twice, and a URL is used until it expires.
 *
 * @param {File|Blob} file
 * @param {function(): Promise<ArrayBuffer>} read Reads the file.
 * @param {string} filename
 */
export function uploader(file, read, filename) {
  let announced = null;
  let arrived = false;
  /**
   * @param {function({loaded: number, total: number}): void} told Gets how many bytes have been sent.
   * @param {boolean} anew Whether the API refused what was uploaded before.
   */
  return async (told, anew) => {
    if (anew || (!arrived && announced && new Date(announced.expires_at) <= Date.now())) announced = null;
    if (announced === null) {
      arrived = false;
      const contenttype = file.type || "application/octet-stream";
      announced = await send("POST", "/upload", { json: { filename: filename || null, contenttype, size: file.size } });
    }
    if (!arrived) {
      const status = await put(announced, await read(), told);
      if (status >= 300 && status !== EXISTS) {
        if (status < 500) announced = null; // The URL is of no use: the next attempt asks for another.
        throw new Problem(`The bucket for uploads has not taken the picture: it answered ${status}. Nothing is stored.`,
          { kind: status < 500 ? "refused" : "unavailable" });
      }
      arrived = true;
    }
    return announced.input_id;
  };
}

/** Send bytes as the API says, and return the status of the answer. `fetch` would not report the progress. */
function put({ method, url, headers }, content, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const total = content.byteLength;
    const failed = (how) => reject(new Problem(
      `The bucket for uploads (${new URL(url).host}) ${how}. Nothing is stored.`, { kind: "unavailable" }));
    let timer = null;
    const wait = () => { // As long as it goes on, it may take as long as it takes.
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), PATIENCE);
    };
    request.upload.onprogress = ({ loaded }) => {
      wait();
      told({ loaded, total });
    };
    request.onload = () => resolve(request.status);
    request.onerror = () => failed("cannot be reached, or takes nothing from this page");
    request.onabort = () => failed("does not answer");
    request.onloadend = () => clearTimeout(timer);
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (!UNSENDABLE.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    told({ loaded: 0, total });
    wait();
    request.send(content);
  });
}
