// ComfyUI's page asks for these one after the other once its scripts run, and
// waits for each. They are asked for now, while the scripts load, and handed
// over when the page comes to ask: each once, and only what was asked since the
// page began. This stands in the page itself, before everything else.
(() => {
  const files = (dir) => `userdata?dir=${dir}&recurse=true&split=false&full_info=true`;
  const paths = [
    'users', 'settings', 'system_stats', 'extensions', 'object_info',
    files('workflows'), files('workflows'), // some versions ask twice
    files('subgraphs'), files('subgraphs%2F'), // with a slash until it was trimmed
    'userdata/comfy.templates.json',
  ].map((path) => `api/${path}`).concat('_latch/api/me');
  const early = new Map(); // address → answers, each a promise of a Response or of null
  for (const path of paths) {
    const url = new URL(path, document.baseURI).href;
    // no-cache: what the browser has is compared with ours, as the page would.
    const answer = fetch(url, { cache: 'no-cache', priority: 'low' }).then((r) => (r.status < 500 ? r : null), () => null);
    early.set(url, [...early.get(url) ?? [], answer]);
  }

  // The page asks for this one with XMLHttpRequest, which takes what is preloaded.
  document.head.append(Object.assign(document.createElement('link'), { rel: 'preload', as: 'fetch', crossOrigin: 'anonymous', href: 'api/i18n' }));

  /** Says nothing but "get this", and who one is to ComfyUI, which the gate knows better. */
  const plain = (init) => !init || ((init.method ?? 'GET') === 'GET' && !init.body && [...new Headers(init.headers).keys()].every((k) => k === 'comfy-user'));

  const aborted = (signal) => new Promise((_, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });

  const real = window.fetch;
  const mine = function (input, init) {
    const changes = (init?.method ?? input?.method ?? 'GET') !== 'GET';
    if (changes) early.clear(); // what was asked for may not be so any more
    const url = typeof input === 'string' || input instanceof URL ? new URL(input, document.baseURI).href : '';
    const answer = plain(init) && early.get(url)?.shift();
    if (!answer) return real.apply(this, arguments);
    const given = answer.then((r) => r ?? real.call(window, input, init));
    return init?.signal ? Promise.race([given, aborted(init.signal)]) : given;
  };
  window.fetch = mine;
  setTimeout(() => {
    early.clear();
    if (window.fetch === mine) window.fetch = real;
  }, 15000);
})();
