/** Loads vendored scripts that are not modules: each leaves what it exports in `globalThis`. */

const PATIENCE = 30_000; // Milliseconds: a connection may be dead without being closed.

/** Load a script, and run it. Fails if it cannot be loaded, or not in time. */
export function loadScript(src) {
  const script = Object.assign(document.createElement("script"), { src });
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error("a part of this page could not be loaded"));
    setTimeout(failed, PATIENCE); // Once the script is loaded, this changes nothing.
    script.addEventListener("load", resolve);
    script.addEventListener("error", failed);
    document.head.append(script);
  });
}
