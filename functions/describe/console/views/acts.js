/** Deletes several records. */

import { send } from "../api.js";
import { may } from "../session.js";

const AT_ONCE = 4;

/**
 * Delete records, a few at once.
 *
 * @param {object[]} records
 * @param {AbortSignal} signal
 * @param {function({done: object[], failed: [object, string][]}): void} told Called after each request.
 * @returns {Promise<{done, failed, left, problem}>} `left`: not deleted, or not known to be, because of `problem`.
 */
export async function erase(records, signal, told) {
  const done = [];
  const failed = [];
  const left = [...records];
  let problem = null;
  const worker = async () => {
    while (left.length && !problem && !signal.aborted) {
      const record = left.shift();
      try {
        await send("DELETE", `/prediction/${record.prediction_id}`, { signal });
        done.push(record);
      } catch (met) {
        if (met.status === 404) missing(record, done, failed);
        else if (met.kind === "refused") failed.push([record, met.message]);
        else {
          left.push(record);
          if (met.name !== "AbortError") problem = met;
        }
      }
      told({ done, failed });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { done, failed, left, problem };
}

/** The API hides other users' records as if they were gone: only a user who may delete all can trust a 404. */
function missing(record, done, failed) {
  if (may("predictions:delete-all")) done.push(record);
  else failed.push([record, "it is gone already, or it belongs to another user"]);
}
