/** What is done with several records. Each says what it has done, what failed and why, and what is left. */

import { send } from "../api.js";
import { may } from "../session.js";

const TOGETHER = 100; // Ground truths of a request: small enough to show progress.
const AT_ONCE = 4; // Deletions.

/**
 * Give many records a ground truth.
 *
 * @param {[object, object][]} pairs A record and the body for it: `{label}` or `{value}`.
 * @param {AbortSignal} signal
 * @param {function({done: object[], failed: [object, string][]}): void} told Called after each request.
 * @returns {Promise<{done, failed, left, problem}>} `left` were not sent, or nobody knows, because of `problem`.
 */
export async function judge(pairs, signal, told) {
  const done = [];
  const failed = [];
  let left = [...pairs];
  while (left.length && !signal.aborted) {
    const some = left.slice(0, TOGETHER);
    try {
      await judgeTogether(some, signal, done, failed);
    } catch (problem) {
      return { done, failed, left: left.filter((pair) => !settled(pair, done, failed)), problem };
    }
    left = left.slice(TOGETHER);
    told({ done, failed });
  }
  return { done, failed, left, problem: null };
}

const settled = ([record], done, failed) => [...done, ...failed].some(([one]) => one === record);

/** All or none are kept of a request: those that it refuses are left out, and the others are sent again. */
async function judgeTogether(pairs, signal, done, failed) {
  let some = pairs;
  while (some.length) {
    const items = some.map(([record, body]) => ({ prediction_id: record.prediction_id, source: "human", ...body }));
    try {
      await send("POST", "/ground_truth", { json: { items }, signal });
      done.push(...some);
      return;
    } catch (problem) {
      if (problem.kind !== "refused") throw problem;
      const wrong = new Map();
      for (const { pointer, detail } of problem.errors) {
        const [, index] = /^\/items\/(\d+)(?:\/|$)/.exec(pointer ?? "") ?? [];
        if (index !== undefined) wrong.set(Number(index), detail);
      }
      if (!wrong.size) for (const index of some.keys()) wrong.set(index, problem.message);
      for (const [index, detail] of wrong) failed.push([some[index][0], detail]);
      some = some.filter((_, index) => !wrong.has(index));
    }
  }
}

/** Delete records, a few at once. As `judge`, but `done` and `left` are records. */
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

/** Another's record answers as one that is not there: only who may delete all knows that it is gone. */
function missing(record, done, failed) {
  if (may("predictions:delete-all")) done.push(record);
  else failed.push([record, "it is gone already, or it belongs to another user"]);
}

/** Withdraw the ground truths of records. As `erase`. */
export async function withdraw(records, signal, told) {
  const done = [];
  const failed = [];
  for (const [index, record] of records.entries()) {
    try {
      await send("DELETE", `/prediction/${record.prediction_id}/ground_truth`, { signal });
      done.push(record);
    } catch (problem) {
      if (problem.kind !== "refused") return { done, failed, left: records.slice(index), problem };
      failed.push([record, problem.message]);
    }
    told({ done, failed });
  }
  return { done, failed, left: [], problem: null };
}
