/**
 * Who is signed in, by OpenID Connect: authorization code with PKCE. If the page names no issuer, nobody can sign in.
 *
 * Tokens are kept in the session storage of this tab. They are sent to the issuer and to this API, and to nobody else.
 */

import { useEffect, useState } from "./html.js";
import { loadScript } from "./script.js";

const SIGNED_IN = "/console/signed-in";
const SIGNED_OUT = "/console/signed-out";
const FIRST = "/console";
const EARLY = 60; // seconds before its end that a token is renewed
const IN_WINDOW = "window"; // the state of a sign-in that has a window of its own
const PATIENCE = 3000; // milliseconds for the page that opened such a window to close it
const RESOURCE_SERVER = "onnx-ledger/"; // what may stand before a scope: see functions/shared/api/scopes.py
const SIZE = { width: 480, height: 640 };

const configured = JSON.parse(document.querySelector('meta[name="sign-in"]')?.content || "null");
const listeners = new Set();
let manager = null;
let renewing = null;
let attempt = null;

/**
 * `required`: whether users have to sign in. `user`: `{id, name, scopes}`, or null. `over`: whether the session of that
 * user has ended. `leaving`: whether the page is left only to sign in, and comes back. `said`: the result of signing in
 * or out, in words, or null. `ready`: settles once all this is known.
 */
export const session = {
  required: configured !== null, user: null, over: false, leaving: false, said: null, ready: null,
};

function change(changes) {
  Object.assign(session, changes);
  for (const listener of [...listeners]) listener({});
}

/** The session; the component is rendered again when it changes. */
export function useSession() {
  const [, changed] = useState({});
  useEffect(() => {
    listeners.add(changed);
    changed({}); // it may have changed since the first rendering
    return () => listeners.delete(changed);
  }, []);
  return session;
}

/** Whether the user may do what a scope permits, such as "ground-truth:write". Without sign-in, everybody may. */
export function may(scope) {
  return configured === null || (session.user?.scopes.includes(scope) ?? false);
}

/**
 * Return the token to call the API with, renewed if it is about to expire; null if there is none, or if `of` is given
 * and the token belongs to a user with another id.
 */
export async function token(of) {
  const user = await manager?.getUser();
  if (!user || (of && user.profile.sub !== of)) return null;
  if (user.expires_in === undefined || user.expires_in > EARLY) return user.access_token;
  const renewed = await renew(user);
  if (renewed === null && user.expired) ended();
  return (renewed ?? user).access_token;
}

/** Note that the API refused the token. What is shown and typed stays. */
export function ended() {
  if (session.user !== null && !session.over) change({ over: true });
}

/**
 * Sign in, and come back to a URL. If a session has ended in the middle of something, another window does it, so that
 * nothing on this page is lost. Call it from a click: otherwise the browser opens no window.
 */
export async function signIn(returnTo = location.pathname + location.search) {
  if (manager === null) return location.reload(); // its library could not be loaded
  const name = "onnx-ledger-sign-in";
  if (session.over && window.open("", name, `popup,width=${SIZE.width},height=${SIZE.height}`)) return again(name);
  const wanted = [SIGNED_IN, SIGNED_OUT].includes(new URL(returnTo, location.origin).pathname) ? FIRST : returnTo;
  try {
    change({ leaving: true });
    await manager.signinRedirect({ state: { returnTo: wanted } });
  } catch (error) {
    change({ leaving: false, said: words(error) });
  }
}

/** Remove the tokens, and end the session at the issuer, so that the next user of this machine must sign in. */
export async function signOut() {
  const user = await manager.getUser();
  try {
    if (user?.refresh_token) await manager.revokeTokens(["refresh_token"]);
  } catch { /* The issuer revokes none, or is away. The tokens are forgotten all the same. */ }
  change({ user: null, over: false }); // first: what a view still asks for must not look like a session that ended
  await manager.removeUser();
  const back = location.origin + SIGNED_OUT;
  try {
    // `logout_uri` is Cognito's name for the URL to return to; other issuers ignore it.
    const extraQueryParams = { logout_uri: back };
    await manager.signoutRedirect({ client_id: configured.client_id, id_token_hint: user?.id_token, extraQueryParams });
  } catch {
    location.assign(back); // the issuer has no session to end, or cannot be reached
  }
}

async function again(name) {
  attempt?.abort();
  attempt = new AbortController();
  const { signal } = attempt;
  const before = (await manager.getUser())?.profile.sub;
  const options = { url_state: IN_WINDOW, popupWindowTarget: name, popupWindowFeatures: SIZE, popupSignal: signal };
  try {
    const user = await manager.signinPopup(options);
    if (before !== undefined && user.profile.sub !== before) { // the page shows another user's records
      change({ leaving: true });
      return location.reload();
    }
    change({ user: person(user), over: false, said: null });
  } catch (error) {
    if (!signal.aborted) change({ said: words(error) });
  }
}

/** Return the user with a new token; null if the issuer gives none. Concurrent calls share one request. */
function renew(user) {
  if (!user.refresh_token) return Promise.resolve(null);
  renewing ??= manager.signinSilent().then(
    (renewed) => {
      change({ user: person(renewed), over: false });
      return renewed;
    },
    () => null,
  ).finally(() => {
    renewing = null;
  });
  return renewing;
}

async function begin() {
  if (configured === null) return;
  try {
    manager = await made();
    if (location.pathname === SIGNED_IN) return await comeBack();
    if (location.pathname === SIGNED_OUT) await goneOut();
    await goOn();
  } catch (error) {
    change({ said: words(error) });
  }
}

/** Go on with the session that this tab has. */
async function goOn() {
  const user = await manager.getUser();
  if (!user) return;
  const good = user.expired ? await renew(user) : user;
  if (good) change({ user: person(good) });
  else await manager.removeUser();
}

async function comeBack() {
  const state = new URLSearchParams(location.search).get("state");
  if (state?.endsWith(`;${IN_WINDOW}`)) {
    await manager.signinPopupCallback(); // the page that opened this window goes on, and closes it
    await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    return;
  }
  if (!state || (await manager.settings.stateStore.get(state)) === null) {
    replace(FIRST);
    await goOn(); // a user who is signed in has only come back to this URL
    if (session.user === null) change({ said: "That sign-in was begun in another tab, or is over. Sign in here." });
    return;
  }
  try {
    const user = await manager.signinRedirectCallback();
    change({ user: person(user), said: null });
    replace(user.state?.returnTo);
  } catch (error) {
    replace(error.state?.returnTo);
    await goOn();
    change({ said: words(error) });
  }
}

async function goneOut() {
  replace(FIRST);
  if (!(await manager.getUser())) change({ said: "You are signed out." });
}

function replace(path) {
  const url = new URL(path ?? FIRST, location.origin);
  history.replaceState(null, "", url.origin === location.origin ? url.pathname + url.search : FIRST);
}

async function made() {
  await loadScript(import.meta.resolve("./vendor/oidc-client-ts.min.js"));
  const { UserManager, WebStorageStateStore } = globalThis.oidc;
  const store = new WebStorageStateStore({ prefix: "sign-in.", store: sessionStorage });
  return new UserManager({
    authority: configured.authority,
    client_id: configured.client_id,
    scope: configured.scope,
    ...(configured.metadata_url && { metadataUrl: configured.metadata_url }),
    redirect_uri: location.origin + SIGNED_IN,
    post_logout_redirect_uri: location.origin + SIGNED_OUT,
    response_type: "code",
    userStore: store,
    stateStore: store,
    automaticSilentRenew: false, // `token` renews; without a refresh token the library would try it with a frame
    requestTimeoutInSeconds: 10,
  });
}

function person(user) {
  const { profile } = user;
  const name = profile.name ?? profile.preferred_username ?? profile.email ?? profile.sub;
  return { id: profile.sub, name, scopes: scopesOf(user) };
}

/** The scopes of a token by their bare names, as the API reads them. */
function scopesOf(user) {
  const claims = claimsOf(user.access_token);
  const said = [claims.scope, claims.scp].flat().filter((one) => typeof one === "string");
  const all = said.length > 0 ? said.join(" ") : user.scope ?? "";
  const bare = (scope) => (scope.startsWith(RESOURCE_SERVER) ? scope.slice(RESOURCE_SERVER.length) : scope);
  return all.split(" ").map(bare);
}

function claimsOf(accessToken) {
  try {
    const text = atob(accessToken.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (character) => character.charCodeAt(0)))) ?? {};
  } catch {
    return {}; // not a JSON Web Token: only the API can read it
  }
}

function words(error) {
  const Refused = globalThis.oidc?.ErrorResponse; // unknown if the library could not be loaded
  if (Refused && error instanceof Refused) {
    return `The issuer did not sign you in: ${error.error_description || error.error}.`;
  }
  return `You could not be signed in: ${error.message}. Try it again.`;
}

session.ready = begin();
