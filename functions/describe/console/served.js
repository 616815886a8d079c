/** The model that is served, asked for once. */

import { get } from "./api.js";
import { useEffect } from "./html.js";
import { useLoad } from "./load.js";
import { useSession } from "./session.js";

const RETRY = 5_000; // Milliseconds

let asked = null;
const without = new Set(); // for each component whose attempt failed: what tries again

/**
 * `value` is what `GET /model` answers. If that fails, the component that is `insistent` tries again until it succeeds,
 * and then all others get the answer. They do not try by themselves: the message that they show would come and go.
 */
export function useServed({ insistent = false } = {}) {
  const { over } = useSession();
  const loaded = useLoad(async () => {
    asked ??= get("/model");
    try {
      return await asked;
    } catch (problem) {
      asked = null; // so that the next attempt asks again
      throw problem;
    }
  }, [over]);
  const { value, problem, again } = loaded;
  useEffect(() => {
    if (problem === null) return undefined;
    without.add(again);
    const later = ["unavailable", "unreachable"].includes(problem.kind);
    const timer = insistent && later ? setTimeout(again, RETRY) : null;
    return () => {
      without.delete(again);
      clearTimeout(timer);
    };
  }, [problem]);
  useEffect(() => {
    if (value !== null) for (const again of [...without]) again();
  }, [value]);
  return loaded;
}
