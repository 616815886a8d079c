/** What a view shows while it has nothing else to show. */

import { html } from "./html.js";
import { signIn, useSession } from "./session.js";

/** Something is on its way. */
export const Loading = ({ what = "" }) => html`<p class="muted" role="status">Loading ${what} …</p>`;

/** There is nothing, and why. */
export const Empty = ({ children }) => html`<p class="muted" role="status">${children}</p>`;

/** A message that does not interrupt the user. */
export const Notice = ({ children }) => html`<p class="notice" role="status">${children}</p>`;

/** An error: what was wrong, and what the user can do. `again` tries once more. */
export function Failed({ problem, again }) {
  const { user, over } = useSession();
  const isOut = problem.kind === "signed out" && (over || user === null); // the user may have signed in since
  const elsewhere = (problem.errors ?? []).filter(({ detail }) => !problem.message.includes(detail));
  return html`<div class="failed" role="alert">
    <p>${problem.message}</p>
    ${elsewhere.length > 0 && html`<ul>${elsewhere.map(({ pointer, detail }) => html`<li>${pointer && html`<code>${pointer}</code> `}${detail}</li>`)}</ul>`}
    ${isOut
      ? html`<button type="button" onClick=${() => signIn()}>Sign in</button>`
      : again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}
