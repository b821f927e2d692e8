import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const source = readFileSync(new URL('../static/auth_inject.js', import.meta.url), 'utf8');

class Storage extends Map {
  getItem(k) { return this.get(k) ?? null; }
  setItem(k, v) { this.set(k, v); }
  removeItem(k) { this.delete(k); }
}

/** A window at https://gate.example/ with the script loaded. */
function page({ local, session, status = 200, reason = null, path = '/sub/?a=b#c' } = {}) {
  const sent = [];
  const gone = [];
  class XMLHttpRequest {
    headers = {};
    listeners = {};
    open(method, url) { this.url = String(url); }
    setRequestHeader(k, v) { this.headers[k.toLowerCase()] = v; }
    addEventListener(type, f) { this.listeners[type] = f; }
    getResponseHeader() { return reason; }
    send() {
      this.status = status;
      sent.push({ url: this.url, auth: this.headers.authorization ?? null });
      this.listeners.load?.();
    }
  }
  const at = new URL(`https://gate.example${path}`);
  const location = {
    origin: at.origin, pathname: at.pathname, search: at.search, hash: at.hash,
    assign: (to) => gone.push(to), reload: () => gone.push('reload'),
  };
  const window = {
    location, Request, Headers, URL, XMLHttpRequest, document: { baseURI: at.href },
    localStorage: new Storage(), sessionStorage: new Storage(),
    fetch: async (input, init) => {
      const request = input instanceof Request ? new Request(input, init) : new Request(new URL(input, at), init);
      sent.push({ url: request.url, auth: request.headers.get('authorization'), method: request.method });
      return { status, headers: new Headers(reason ? { 'Comfylatch-Reason': reason } : {}) };
    },
  };
  window.window = window;
  if (local) window.localStorage.set('comfyui_api_key', local);
  if (session) window.sessionStorage.set('comfyui_api_key', session);
  vm.runInNewContext(source, window);
  return { window, sent, gone };
}

const ours = ['/prompt', 'api/prompt', './x', '?q', 'https://gate.example/a', 'HTTPS://GATE.EXAMPLE/a', new URL('https://gate.example/u')];
const others = ['https://evil.example/', '//evil.example/a', 'http://gate.example/', 'https://gate.example:8443/', 'https://gate.example.evil.example/',
  'data:,x', '/\\evil.example/', new URL('https://evil.example/u')];

for (const url of ours) {
  test(`fetch to ${url} carries the token`, async () => {
    const { window, sent } = page({ local: 't+/=' });
    await window.fetch(url, { method: 'POST', headers: { 'X-A': 'b' } });
    assert.equal(sent[0].auth, 'Bearer t+/=');
    assert.equal(sent[0].method, 'POST');
  });
  test(`XMLHttpRequest to ${url} carries the token`, () => {
    const { window, sent } = page({ session: 't' });
    const x = new window.XMLHttpRequest();
    x.open('GET', url);
    x.send();
    assert.equal(sent[0].auth, 'Bearer t');
  });
}

for (const url of others) {
  test(`fetch to ${url} does not`, async () => {
    const { window, sent, gone } = page({ local: 't', status: 401 });
    await window.fetch(url);
    assert.equal(sent[0].auth, null);
    assert.deepEqual(gone, []);
  });
  test(`XMLHttpRequest to ${url} does not`, () => {
    const { window, sent, gone } = page({ local: 't', status: 401 });
    const x = new window.XMLHttpRequest();
    x.open('GET', url);
    x.send();
    assert.equal(sent[0].auth, null);
    assert.deepEqual(gone, []);
  });
}

test('a Request object carries it, and keeps its own headers', async () => {
  const { window, sent } = page({ local: 't' });
  await window.fetch(new Request('https://gate.example/a', { method: 'PUT', body: 'x', headers: { 'X-A': 'b' } }));
  assert.deepEqual([sent[0].auth, sent[0].method], ['Bearer t', 'PUT']);
  await window.fetch(new Request('https://evil.example/a'));
  assert.equal(sent[1].auth, null);
});

test('a header of the caller is left alone', async () => {
  const { window, sent, gone } = page({ local: 't', status: 401 });
  await window.fetch('/a', { headers: { authorization: 'Bearer own' } });
  await window.fetch(new Request('https://gate.example/a', { headers: { Authorization: 'Bearer own' } }));
  const x = new window.XMLHttpRequest();
  x.open('GET', '/a');
  x.setRequestHeader('AUTHORIZATION', 'Bearer own');
  x.send();
  assert.deepEqual(sent.map((s) => s.auth), ['Bearer own', 'Bearer own', 'Bearer own']);
  assert.deepEqual(gone, []);
});

test('without a token nothing is added', async () => {
  const { window, sent } = page();
  await window.fetch('/a');
  assert.equal(sent[0].auth, null);
});

test('one XMLHttpRequest used twice does not carry it elsewhere', () => {
  const { window, sent } = page({ local: 't' });
  const x = new window.XMLHttpRequest();
  x.open('GET', '/a');
  x.send();
  x.headers = {};
  x.open('GET', 'https://evil.example/');
  x.send();
  assert.deepEqual(sent.map((s) => s.auth), ['Bearer t', null]);
});

test('401 forgets the token and goes to the key page, once', async () => {
  const { window, gone } = page({ local: 't', session: 'u', status: 401 });
  await Promise.all([window.fetch('/a'), window.fetch('/b')]);
  assert.deepEqual(gone, ['/auth_login.html?next=%2Fsub%2F%3Fa%3Db%23c']);
  assert.equal(window.localStorage.size + window.sessionStorage.size, 0);
});

test('401 without a token goes to the login page', () => {
  const { window, gone } = page({ status: 401 });
  const x = new window.XMLHttpRequest();
  x.open('GET', '/a');
  x.send();
  assert.deepEqual(gone, ['/login?next=%2Fsub%2F%3Fa%3Db%23c']);
});

test('403 stays where it is', async () => {
  const { window, gone } = page({ local: 't', status: 403 });
  await window.fetch('/a');
  assert.deepEqual(gone, []);
});

test('a session that took the token\'s place is believed', async () => {
  const { window, gone } = page({ local: 't', status: 400, reason: 'two-credentials' });
  await window.fetch('/a');
  assert.deepEqual(gone, ['reload']);
  assert.equal(window.localStorage.size, 0);
});

test('loading it twice adds the header once', async () => {
  const { window, sent } = page({ local: 't' });
  vm.runInContext(source, window);
  await window.fetch('/a');
  assert.equal(sent.length, 1);
});
