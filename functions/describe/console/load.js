/** Load what a view shows: an answer, or the reason why there is none. */

import { useCallback, useEffect, useState } from "./html.js";

/**
 * Load something when the component is first shown and whenever one of `dependencies` changes.
 *
 * `load(signal)` returns a promise; the signal is aborted once its answer is no longer wanted. The old answer stays
 * until there is a new one, with `loading` true, so that what the user reads does not vanish. `again()` reloads.
 */
export function useLoad(load, dependencies = []) {
  const [state, setState] = useState({ value: null, problem: null, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState(({ value }) => ({ value, problem: null, loading: true }));
    load(controller.signal).then(
      (value) => controller.signal.aborted || setState({ value, problem: null, loading: false }),
      (problem) => controller.signal.aborted || setState(({ value }) => ({ value, problem, loading: false })),
    );
    return () => controller.abort();
  }, [...dependencies, turn]);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  return { ...state, again };
}
