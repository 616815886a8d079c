/** Single-key shortcuts of a view, and a dialog (`?`) that lists them. */

import { html, render, useEffect, useRef } from "./html.js";

const STORED = "onnx-ledger.keys"; // "off" for users of speech input or of a reader with keys of its own (WCAG 2.1.4).
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };
const TYPED_IN = "input:not([type=checkbox], [type=button], [type=submit]), textarea, select, [contenteditable]";
const PRESSED_BY = { Enter: "a[href], button, summary, input", " ": "button, summary, input" };

const registered = []; // Refs to maps of keys; the latest comes first.

/**
 * Listen for single keys as long as the component is shown. Keys are ignored while the user types in a field, while a
 * dialog is open, with Ctrl, Alt or Meta, and while they are held down.
 *
 * @param {Object<string, [string, function(KeyboardEvent): void]>} keys By `KeyboardEvent.key`: what the key does, in
 *   words, and the function. A key with null or undefined does nothing.
 */
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    registered.unshift(latest);
    if (registered.length === 1) document.addEventListener("keydown", press);
    return () => {
      registered.splice(registered.indexOf(latest), 1);
      if (!registered.length) document.removeEventListener("keydown", press);
    };
  }, []);
}

function press(event) {
  if (event.defaultPrevented || event.repeat || event.isComposing) return;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (document.querySelector("dialog[open]") || event.target.closest?.(TYPED_IN)) return;
  if (PRESSED_BY[event.key] && event.target.closest?.(PRESSED_BY[event.key])) return;
  if (event.key === "?") {
    event.preventDefault();
    showKeys();
    return;
  }
  if (!areOn()) return;
  const found = registered.map((ref) => ref.current?.[event.key]).find(Boolean);
  if (!found) return;
  event.preventDefault();
  found[1](event);
}

function areOn() {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true; // No storage: a browser may forbid it.
  }
}

function turn(on) {
  try {
    if (on) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, "off");
  } catch { /* It holds for no longer than the page then: not at all. */ }
}

/** All keys of the view and what they do: `[[key, words], …]`, each key once. */
function known() {
  const found = new Map();
  for (const ref of registered) {
    for (const [key, does] of Object.entries(ref.current ?? {})) {
      if (does && !found.has(key)) found.set(key, does[0]);
    }
  }
  return [...found].map(([key, words]) => [NAMES[key] ?? key, words]);
}

/** Open the dialog that lists the keys. */
function showKeys() {
  const place = document.createElement("div");
  const before = document.activeElement;
  document.body.append(place);
  const closed = () => {
    render(null, place);
    place.remove();
    before?.focus?.();
  };
  render(html`<${KeysDialog} keys=${known()} closed=${closed} />`, place);
}

function KeysDialog({ keys, closed }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  return html`
    <dialog class="keys" ref=${dialog} aria-labelledby="keys-title" onClose=${closed}>
      <h2 id="keys-title">Keys</h2>
      <table>
        <thead><tr><th scope="col">Key</th><th scope="col">What it does</th></tr></thead>
        <tbody>
          ${keys.map(([key, words]) => html`<tr key=${key}><td><kbd>${key}</kbd></td><td>${words}</td></tr>`)}
          <tr><td><kbd>?</kbd></td><td>show this</td></tr>
        </tbody>
      </table>
      <p>
        <label class="choice">
          <input type="checkbox" defaultChecked=${areOn()} onChange=${(event) => turn(event.target.checked)} />
          ${" "}Single keys do something
        </label>
      </p>
      <form method="dialog"><button>Close</button></form>
    </dialog>`;
}

/** A button that opens the dialog, for users who do not know of `?`. */
export function KeysButton() {
  return html`
    <button type="button" class="keys-button" onClick=${showKeys}>Keys <kbd aria-hidden="true">?</kbd></button>`;
}
