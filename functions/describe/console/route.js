/** The URL says which view is shown, and of what. The same URL shows the same to everybody. */

import { useEffect, useState } from "./html.js";

const FIRST = "predict"; // the view of "/" and "/console"
const listeners = new Set();

function read() {
  const [, base, view, ...parts] = location.pathname.split("/").map(decoded);
  const inside = base === "console" && view;
  return { view: inside ? view : FIRST, parts: inside ? parts.filter(Boolean) : [], query: new URLSearchParams(location.search) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % that somebody typed
  }
}

/** The current URL: the view's name, the rest of the path, and the query. It follows back and forward. */
export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const listener = () => setRoute(read());
    listeners.add(listener);
    listener(); // the URL may have changed since the first rendering
    return () => listeners.delete(listener);
  }, []);
  return route;
}

const tell = () => {
  for (const listener of [...listeners]) listener();
};

/** Show another URL of the console. With `replace`, the browser's Back does not return to the current one. */
export function go(path, { replace = false } = {}) {
  if (path === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", path);
  if (!replace) scrollTo(0, 0);
  tell();
}

/** Return the URL of a view: `href("record", [id])`. Members of the query that are null, undefined or "" are left out. */
export function href(view, parts = [], query = {}) {
  const path = ["/console", view, ...parts.map((part) => encodeURIComponent(part))].join("/");
  const search = asQuery(query).toString();
  return search ? `${path}?${search}` : path;
}

/** Change members of the current URL's query; null, undefined and "" remove one. */
export function setQuery(changes, { replace = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (isNothing(value)) query.delete(name);
    else query.set(name, value);
  }
  const search = query.toString();
  const path = search ? `${location.pathname}?${search}` : location.pathname;
  if (path === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](replace ? history.state : null, "", path); // the page does not scroll
  tell();
}

const isNothing = (value) => value === null || value === undefined || value === "";

function asQuery(query) {
  const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  return new URLSearchParams(entries.filter(([, value]) => !isNothing(value)));
}

/** Let plain links to the console change the view without loading the page again. */
export function takeOverLinks() {
  addEventListener("popstate", tell);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || !/^\/console(\/|$)/.test(link.pathname)) return;
    if (link.hash && link.pathname + link.search === location.pathname + location.search) return; // a place in this page
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
