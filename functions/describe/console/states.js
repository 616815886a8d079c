/** What a view says while there is nothing to show. */

import { html } from "./html.js";
import { signIn, useSession } from "./session.js";

/** Something is on its way. */
export const Loading = ({ what = "" }) => html`<p class="muted" role="status">Loading ${what} …</p>`;

/** There is nothing, and why. */
export const Empty = ({ children }) => html`<p class="muted" role="status">${children}</p>`;

/** Something that is said while one goes on. */
export const Notice = ({ children }) => html`<p class="notice" role="status">${children}</p>`;

/** It did not work: what was wrong, and what one can do. `again` tries once more. */
export function Failed({ problem, again }) {
  const { user, over } = useSession();
  const isOut = problem.kind === "signed out" && (over || user === null); // one may be in again by now
  const elsewhere = (problem.errors ?? []).filter(({ detail }) => !problem.message.includes(detail));
  return html`<div class="failed" role="alert">
    <p>${problem.message}</p>
    ${elsewhere.length > 0 && html`<ul>${elsewhere.map(({ pointer, detail }) => html`<li>${pointer && html`<code>${pointer}</code> `}${detail}</li>`)}</ul>`}
    ${isOut
      ? html`<button type="button" onClick=${() => signIn()}>Sign in</button>`
      : again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}
