/** The model that is served, asked for once. */

import { get } from "./api.js";
import { useEffect } from "./html.js";
import { useLoad } from "./load.js";
import { useSession } from "./session.js";

const RETRY = 5_000; // Milliseconds

let asked = null;
const without = new Set(); // how each component whose attempt failed tries again

/**
 * `value` is what `GET /model` answers. If that fails, the component that is `insistent` tries until it does not; then
 * all the others have the answer too. The others do not try by themselves, so that what they say of it stays.
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
