// The session behind ComfyUI's page: asking for it, losing it, ending it.

const here = new URL(import.meta.url).pathname;
/** The folder that ComfyUI's page and the gate's are in, usually "/". */
export const root = here.slice(0, here.indexOf('_latch/'));
const store = 'comfyui_api_key';

function ask() {
  return fetch(`${root}_latch/api/me`, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
}

/** Gives {name, role, guest, login, logout, freeMemory}, or null where the gate does not say. */
export async function whoAmI() {
  try {
    const answer = await ask();
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

// Storage may be switched off: then there is nothing in it.
function stored() {
  try { return localStorage.getItem(store) ?? sessionStorage.getItem(store); } catch { return null; }
}

/** Forgets one thing that is stored in this browser, or everything. */
function forget(key) {
  for (const name of ['localStorage', 'sessionStorage']) {
    try {
      if (key) window[name].removeItem(key);
      else window[name].clear();
    } catch { /* switched off */ }
  }
}

/**
 * Takes a fresh client id where somebody else used this window before: theirs
 * stays theirs, so ComfyUI's page would wait for its socket for ever. It is
 * kept in the window's name too, which outlives logging out.
 */
export function ownWindow(me) {
  const whose = 'comfylatch.window';
  try {
    if (sessionStorage.getItem(whose) === me.id) return;
    sessionStorage.setItem(whose, me.id);
    sessionStorage.removeItem('clientId');
  } catch { /* switched off */ }
  window.name = '';
}

/** Loads the script that sends an API key's token, where one is stored. */
export async function loadInject() {
  if (stored() !== null) await import(`${root}auth_inject.js`).catch(() => {}); // the cookie is enough
}

/** Says something in ComfyUI's own way; severity is "info", "warn" or "error". */
export function notice(text, severity = 'info') {
  const toast = window.comfyAPI?.app?.app?.extensionManager?.toast;
  if (toast?.add) toast.add({ severity, summary: 'comfylatch', detail: text, life: 6000 });
  else console.info(`comfylatch: ${text}`);
}

let leaving = false;
let checking = false;

/** Leaves for another page without being asked. */
export function go(to) {
  leaving = true;
  // ComfyUI's page would ask whether to leave; its drafts are kept. Its listener
  // was there first, and a window's listeners are called in that order.
  const asking = globalThis.BeforeUnloadEvent?.prototype;
  if (asking) {
    asking.preventDefault = () => {};
    Object.defineProperty(asking, 'returnValue', { get: () => '', set: () => {} });
  }
  location.assign(to);
}

/** Goes to the login, and back here afterwards, if the session has ended. */
async function check() {
  if (leaving || checking) return;
  checking = true;
  try {
    const answer = await ask();
    if (answer.status === 401 && !leaving) {
      go(`${root}login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
    }
  } catch { /* the gate is away: ComfyUI's page says that it reconnects */ } finally {
    checking = false;
  }
}

/** Watches for the session's end: a 401, or a socket that does not come back. */
export function watchSession(api) {
  const fetchApi = api.fetchApi;
  let told = '';
  api.fetchApi = async function (route, options) {
    const answer = await fetchApi.apply(this, arguments);
    if (answer.status === 401) check();
    // What ComfyUI's page does by itself is refused silently, and a prompt's
    // refusal it shows itself.
    const method = (options?.method ?? 'GET').toUpperCase();
    if (answer.status === 403 && method !== 'GET' && !/^\/(prompt|settings)\b/.test(route) && navigator.userActivation?.isActive) {
      const body = await answer.clone().json().catch(() => ({}));
      if (typeof body.error === 'string' && body.error !== told) {
        told = body.error;
        setTimeout(() => { told = ''; }, 10000);
        notice(told, 'warn');
      }
    }
    return answer;
  };
  api.addEventListener('reconnecting', check);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) check(); });
}

/** Ends the session, forgets what the page kept in this browser, and goes to the login. */
export async function logOut(me) {
  const token = stored();
  forget(store); // so that the first request goes with the cookie alone
  const end = (headers) => fetch(me.logout, { method: 'POST', redirect: 'manual', headers });
  try {
    const answers = [await end({})];
    if (token !== null) answers.push(await end({ Authorization: `Bearer ${token}` }));
    if (answers[0].status >= 400) return false; // a token that has ended before is no matter
  } catch {
    return false;
  }
  forget();
  go(`${me.login}?logged_out=1`);
  return true;
}
