/** The model that is served, asked for once. */

import { get } from "./api.js";
import { useLoad } from "./load.js";

let asked = null;

/** `value` is what `GET /model` answers. */
export function useServed() {
  return useLoad(async () => {
    asked ??= get("/model");
    try {
      return await asked;
    } catch (problem) {
      asked = null; // so that the next attempt asks again
      throw problem;
    }
  });
}
