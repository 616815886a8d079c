/** The frame around the views: which view is shown, who is signed in, and what to do if a view breaks. */

import { PATIENCE } from "./api.js";
import { Component, html, render, useEffect, useRef, useState } from "./html.js";
import { takeOverLinks, useRoute } from "./route.js";
import { session, signIn, useSession } from "./session.js";
import { useServed } from "./served.js";
import { Loading } from "./states.js";
import { SignOut, Unsaved } from "./unsaved.js";

const VIEWS = { predict: "Predict", records: "Records", review: "Review", models: "Models", import: "Import" };
const MODULES = { ...Object.fromEntries(Object.keys(VIEWS).map((name) => [name, name])), record: "record" };

/** Catches what a view throws while it is rendered. */
class Boundary extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error(error);
  }

  render({ children }, { error }) {
    if (error === null) return children;
    return html`<div class="failed" role="alert">
      <p>This view broke: ${error.message}</p>
      <button type="button" onClick=${() => location.reload()}>Load the page again</button>
    </div>`;
  }
}

/** A view, whose module is loaded when it is first shown. */
function View({ route }) {
  const [loaded, setLoaded] = useState({});
  const frame = useRef(null);
  const { view } = route;
  const known = Object.hasOwn(MODULES, view);
  const attempt = () => {
    if (!known || loaded[view]?.Shown) return;
    const failed = () => setLoaded((before) => ({ ...before, [view]: { failed: true } }));
    const timer = setTimeout(failed, PATIENCE); // If it comes after all, it is shown.
    import(`./views/${MODULES[view]}.js`).then(
      (module) => setLoaded((before) => ({ ...before, [view]: { Shown: module.default } })), failed,
    ).finally(() => clearTimeout(timer));
  };
  useEffect(attempt, [view]);
  const { Shown, failed } = loaded[view] ?? {};
  const first = useRef(true);
  useEffect(() => {
    const heading = frame.current?.querySelector("h1");
    document.title = heading ? `${heading.textContent} · onnx-ledger` : "onnx-ledger";
    if (heading && !first.current) { // A screen reader starts reading here, and the keyboard goes on from here.
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
    if (Shown) first.current = false;
  }, [view, Shown, route.parts.join("/")]);
  return html`<main id="view" ref=${frame}>
    ${!known && html`<h1>No such page</h1><p>There is no view “${view}”. <a href="/console/records">See the records</a>.</p>`}
    ${known && failed && html`<h1>${VIEWS[view] ?? "Record"}</h1><div class="failed" role="alert">
      <p>This view could not be loaded. The server cannot be reached, or it has a new version of this page.</p>
      <button type="button" onClick=${() => location.reload()}>Load the page again</button>
    </div>`}
    ${known && !failed && !Shown && html`<${Loading} />`}
    ${Shown && html`<${Boundary} key=${view}><${Shown} query=${route.query} parts=${route.parts} /><//>`}
  </main>`;
}

function Who() {
  const { required, user } = useSession();
  if (!required) return null;
  if (user === null) return html`<button type="button" onClick=${() => signIn()}>Sign in</button>`;
  return html`<span class="who">${user.name}</span> <${SignOut} />`;
}

function Served() {
  const { value } = useServed({ insistent: true });
  return value && html`<span class="muted">${value.name} ${value.version}</span>`;
}

function SessionIsOver() {
  const { over, said } = useSession();
  return over && html`<div class="failed" role="alert">
    <p>Your session has ended. What you see stays; sign in to go on.${said && ` ${said}`}</p>
    <button type="button" class="main" onClick=${() => signIn()}>Sign in</button>
  </div>`;
}

function App() {
  const route = useRoute();
  const { required, user, over, said } = useSession();
  const out = required && user === null && !over;
  return html`
    <a class="skip" href="#view">Skip to the content</a>
    <header>
      <nav aria-label="Views">
        <a class="brand" href="/console">onnx-ledger</a>
        ${Object.entries(VIEWS).map(([view, name]) => html`<a
          href=${`/console/${view}`} aria-current=${view === route.view || (view === "records" && route.view === "record") ? "page" : undefined}>${name}</a>`)}
      </nav>
      <p class="state">${!out && html`<${Served} />`} <${Who} /></p>
    </header>
    <${SessionIsOver} />
    <${Unsaved} />
    ${out
      ? html`<main id="view"><h1>Sign in</h1><p>The predictions are shown to those who are signed in.</p>
          ${said && html`<p role="status">${said}</p>`}
          <button type="button" class="main" onClick=${() => signIn()}>Sign in</button></main>`
      : html`<${View} route=${route} />`}
    <footer class="muted"><a href="/docs">API documentation</a> · <a href="/health">Health</a></footer>`;
}

takeOverLinks();
await session.ready;
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
