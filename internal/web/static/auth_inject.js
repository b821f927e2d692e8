// For a browser that logged in with an API key: sends the token that the key
// was exchanged for with every fetch and XMLHttpRequest to our own origin, and
// to no other, and goes to the login page once it is no longer good.
(() => {
  'use strict';
  const store = 'comfyui_api_key';
  if (window.comfylatchInject) return; // loaded twice
  window.comfylatchInject = true;

  const token = () => {
    try { return localStorage.getItem(store) ?? sessionStorage.getItem(store); } catch { return null; }
  };
  const forget = () => {
    for (const name of ['localStorage', 'sessionStorage']) {
      try { window[name].removeItem(store); } catch { /* switched off */ }
    }
  };
  const ours = (url) => {
    try { return new URL(url, document.baseURI).origin === location.origin; } catch { return false; }
  };

  let left = false;
  const once = (leave) => {
    if (left) return;
    left = true;
    leave();
  };
  const refused = (status, reason) => {
    if (status === 401) {
      const page = token() === null ? '/login' : '/auth_login.html';
      forget();
      const here = location.pathname + location.search + location.hash;
      once(() => location.assign(`${page}?next=${encodeURIComponent(here)}`));
    } else if (status === 400 && reason === 'two-credentials' && token() !== null) {
      // Somebody has logged in with a password since: the cookie counts.
      forget();
      once(() => location.reload());
    }
  };

  const plainFetch = window.fetch;
  window.fetch = async function (input, init) {
    const request = typeof Request !== 'undefined' && input instanceof Request;
    if (!ours(request ? input.url : String(input))) return plainFetch.call(this, input, init);
    const headers = new Headers(init?.headers ?? (request ? input.headers : undefined));
    const value = token();
    const ownHeader = headers.has('Authorization');
    if (value && !ownHeader) {
      headers.set('Authorization', `Bearer ${value}`);
      init = { ...init, headers };
    }
    const answer = await plainFetch.call(this, input, init);
    if (!ownHeader) refused(answer.status, answer.headers.get('Comfylatch-Reason'));
    return answer;
  };

  const { open, send, setRequestHeader } = XMLHttpRequest.prototype;
  const own = new WeakMap(); // XMLHttpRequest → has the caller set the header?
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (ours(url)) own.set(this, false);
    else own.delete(this);
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
    if (own.has(this) && String(name).toLowerCase() === 'authorization') own.set(this, true);
    return setRequestHeader.call(this, name, value);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (own.get(this) === false) {
      const value = token();
      if (value) setRequestHeader.call(this, 'Authorization', `Bearer ${value}`);
      this.addEventListener('load', () => refused(this.status, this.getResponseHeader('Comfylatch-Reason')), { once: true });
    }
    return send.call(this, body);
  };
})();
