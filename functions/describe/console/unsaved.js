/** What the frame shows of ground truths that are not stored: those that wait and why, and those that were refused. */

import { count } from "./format.js";
import { html, useEffect, useRef } from "./html.js";
import { drop, flush, forgetOthers, forgetOwn, forgetRefused, useOutbox } from "./outbox.js";
import { href } from "./route.js";
import { signOut, useSession } from "./session.js";
import { Notice } from "./states.js";

const LISTED = 50;

const truths = (number) => (number === 1 ? "1 ground truth" : `${count(number)} ground truths`);

const linkOf = ({ name, value }) =>
  name === "prediction_id" ? href("record", [value]) : href("records", [], { inference_id: value });

/** Nothing is shown if all is stored. */
export function Unsaved() {
  const { user, over } = useSession();
  const { own, others, problem, refused } = useOutbox();
  useEffect(() => { flush(); }, [user, over]); // After a new sign-in, sending goes on by itself.
  const isStuck = own.length > 0 && (problem || over);
  if (!isStuck && others === 0 && refused.length === 0) return null;
  return html`
    <section class="unsaved" aria-label="Ground truths that are not stored">
      ${isStuck && html`
        <${Notice}>
          ${truths(own.length)} could not be stored yet${problem ? `: ${problem.message}` : "."}${" "}
          Nothing is lost: ${own.length === 1 ? "it is" : "they are"} kept in this tab and
          ${" "}${over ? "sent once you have signed in" : "sent again"}. You can go on.
          ${!over && html`${" "}<button type="button" onClick=${flush}>Send now</button>`}
        <//>
        <details>
          <summary>Which</summary>
          <ul>
            ${own.slice(0, LISTED).map((one) => html`
              <li key=${`${one.call} ${one.at}`}><a href=${linkOf(one.id)}>${one.what}</a>${" "}
                <button type="button" onClick=${() => drop(one)}>Drop it</button></li>`)}
            ${own.length > LISTED && html`<li>and ${count(own.length - LISTED)} more</li>`}
          </ul>
        </details>`}
      ${others > 0 && html`
        <${Notice}>
          ${truths(others)} of another user could not be stored in this tab. Sign in as that user to send
          ${" "}${others === 1 ? "it" : "them"}.${" "}
          <button type="button" onClick=${forgetOthers}>Forget ${others === 1 ? "it" : "them"}</button>
        <//>`}
      ${refused.length > 0 && html`
        <div class="failed" role="alert">
          <p>${truths(refused.length)} ${refused.length === 1 ? "was" : "were"} refused, and not stored:</p>
          <ul>
            ${refused.slice(0, LISTED).map((one) => html`
              <li key=${one.key}><a href=${linkOf(one.id)}>${one.what}</a>: ${one.message}</li>`)}
            ${refused.length > LISTED && html`<li>and ${count(refused.length - LISTED)} more</li>`}
          </ul>
          <button type="button" onClick=${forgetRefused}>Close</button>
        </div>`}
    </section>`;
}

/** Signs out, and asks first if that loses something. */
export function SignOut() {
  const { own } = useOutbox();
  const dialog = useRef(null);
  const close = () => dialog.current.close();
  const leave = () => {
    forgetOwn();
    signOut();
  };
  return html`
    <button type="button" onClick=${() => (own.length > 0 ? dialog.current.showModal() : leave())}>Sign out</button>
    <dialog ref=${dialog} aria-labelledby="sign-out-title">
      <h2 id="sign-out-title">Sign out and lose ${truths(own.length)}?</h2>
      <p>What is not stored yet is kept only as long as you are signed in.</p>
      <p class="buttons">
        <button type="button" autofocus onClick=${close}>Stay signed in</button>
        <button type="button" class="danger" onClick=${leave}>Sign out and forget</button>
      </p>
    </dialog>`;
}
