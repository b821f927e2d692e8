import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const source = readFileSync(new URL('../app/early.js', import.meta.url), 'utf8');
const base = 'https://gate.example/sub/';

/** A page with the script in it; answer gives the status for an address, or throws. */
function page(answer = () => 200) {
  const asked = [];
  const links = [];
  const timers = [];
  const fetch = async (input, init) => {
    const url = String(input?.url ?? new URL(input, base));
    asked.push(`${init?.method ?? 'GET'} ${url.slice(base.length)}`);
    return { status: answer(url, asked.length), url, n: asked.length };
  };
  const window = { fetch };
  vm.runInNewContext(source, {
    window, fetch, URL, Headers, Promise, Map, Object,
    document: { baseURI: base, createElement: () => ({}), head: { append: (e) => links.push(e) } },
    setTimeout: (f) => timers.push(f),
  });
  const before = asked.length;
  return { window, asked, links, early: asked.slice(), later: () => asked.slice(before), end: () => timers.forEach((f) => f()), real: fetch };
}

test('what the page will ask for is asked for at once, and handed over once', async () => {
  const p = page();
  assert.ok(p.early.includes('GET api/object_info') && p.early.includes('GET _latch/api/me'), p.early.join());
  assert.equal(p.links[0].href, 'api/i18n');
  const n = p.early.indexOf('GET api/settings') + 1;
  const got = await p.window.fetch('/sub/api/settings', { cache: 'no-cache', headers: { 'Comfy-User': '' } });
  assert.equal(got.n, n);
  assert.deepEqual(p.later(), []);
  await p.window.fetch('/sub/api/settings');
  assert.deepEqual(p.later(), ['GET api/settings']);
});

test('the list of workflows may be asked for twice', async () => {
  const p = page();
  const path = 'api/userdata?dir=workflows&recurse=true&split=false&full_info=true';
  const one = await p.window.fetch(base + path);
  const two = await p.window.fetch(base + path);
  assert.notEqual(one.n, two.n);
  assert.deepEqual(p.later(), []);
});

test('another request than "get this" goes its own way', async () => {
  for (const init of [{ headers: { Authorization: 'Bearer x' } }, { headers: { Range: 'bytes=0-1' } }, { method: 'HEAD' }]) {
    const p = page();
    await p.window.fetch('api/settings', init);
    assert.equal(p.later().length, 1, JSON.stringify(init));
  }
  const p = page();
  await p.window.fetch({ url: base + 'api/settings', method: 'GET' }); // a Request may hold anything
  await p.window.fetch('api/queue');
  assert.deepEqual(p.later(), ['GET api/settings', 'GET api/queue']);
});

test('after a change everything is asked for anew', async () => {
  for (const change of [(f) => f('api/settings/x', { method: 'POST', body: '1' }), (f) => f({ url: base + 'x', method: 'DELETE' })]) {
    const p = page();
    await change(p.window.fetch);
    await p.window.fetch('api/settings');
    assert.equal(p.later().at(-1), 'GET api/settings');
  }
});

test('a fault or failure of the early request is not handed over', async () => {
  for (const answer of [(_, n) => (n > 20 ? 200 : 503), (_, n) => { if (n <= 20) throw new Error('gone'); return 200; }]) {
    const p = page(answer);
    while (p.asked.length < 20) p.asked.push('');
    assert.equal((await p.window.fetch('api/users')).status, 200);
  }
});

test('who gives up waiting is let go', async () => {
  const p = page(() => 200);
  await assert.rejects(() => p.window.fetch('api/users', { signal: AbortSignal.abort(new Error('enough')) }), /enough/);
});

test('after a while the page is as it was', async () => {
  const p = page();
  p.end();
  assert.equal(p.window.fetch, p.real);
  const q = page();
  const other = q.window.fetch = (...a) => q.real(...a); // somebody else's, on top
  q.end();
  assert.equal(q.window.fetch, other);
});
