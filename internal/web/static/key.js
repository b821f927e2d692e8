import { $, complain, countDown, forget, showHide } from './form.js';

const store = 'comfyui_api_key'; // the token that the key was exchanged for

function stored() {
  try { return localStorage.getItem(store) ?? sessionStorage.getItem(store); } catch { return null; }
}

// A token is kept for good or until the browser closes, never in both places.
function keep(token, remember) {
  try {
    (remember ? sessionStorage : localStorage).removeItem(store);
    (remember ? localStorage : sessionStorage).setItem(store, token);
  } catch { /* storage is switched off: the cookie is enough */ }
}

// The cookie and the stored token are usually the same; each is ended for itself.
async function logOut() {
  const token = stored();
  const end = (headers) => fetch('/logout', { method: 'POST', redirect: 'manual', headers });
  try {
    const answers = [await end({})];
    if (token) answers.push(await end({ Authorization: `Bearer ${token}` }));
    if (answers[0].status >= 400) throw new Error(); // a token that has ended before is no matter
    forget();
    $('status').textContent = 'You are logged out.';
    $('logout').hidden = true;
  } catch {
    complain('Logging out did not work. Please try again.');
  }
}

async function logIn(form) {
  const key = form.api_key.value.trim();
  const remember = form.remember.checked;
  const button = $('submit');
  complain('');
  button.disabled = true;
  try {
    const answer = await fetch('/_latch/api/browser-token', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ key, remember }),
    });
    const { token, error } = await answer.json();
    if (!answer.ok) {
      button.disabled = false;
      complain(error ?? 'This did not work. Please try again.');
      form.api_key.select();
      countDown(Number(answer.headers.get('Retry-After')));
      return;
    }
    keep(token, remember);
    location.assign(form.next.value); // checked by the server
  } catch {
    button.disabled = false;
    complain('The gate does not answer. Please try again.');
  }
}

if (document.body.dataset.wait) countDown(Number(document.body.dataset.wait));
if ('logout' in document.body.dataset) logOut();
$('logout')?.addEventListener('submit', (e) => {
  e.preventDefault();
  logOut();
});
const form = $('key-form');
if (form) {
  showHide();
  form.addEventListener('submit', (e) => {
    e.preventDefault();
    logIn(form);
  });
}
