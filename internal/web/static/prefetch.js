/**
 * Fetches the public files of ComfyUI's frontend while the password is typed,
 * four at a time, so that they are in the browser's cache afterwards.
 * Gives a function that stops it: the log-in itself comes first.
 */
export function prefetch() {
  const abort = new AbortController();
  const link = navigator.connection;
  const poor = link?.saveData || /2g$/.test(link?.effectiveType ?? '');
  if (!poor) run(abort.signal).catch(() => {});
  return () => abort.abort();
}

async function run(signal) {
  const asked = new Set();
  // The gate may only just be finding out which files there are.
  for (let tries = 0; tries < 30 && !signal.aborted; tries++) {
    const answer = await fetch('/_latch/prefetch.json', { signal });
    const files = (answer.ok ? await answer.json() : []).filter((file) => !asked.has(file));
    if (asked.size && !files.length) return;
    files.forEach((file) => asked.add(file));
    await fetchAll(files, signal);
    await new Promise((done) => setTimeout(done, 500));
  }
}

async function fetchAll(files, signal) {
  const next = async () => {
    for (let file = files.shift(); file && !signal.aborted; file = files.shift()) {
      const got = await fetch(file, { signal, priority: 'low' });
      await got.arrayBuffer();
    }
  };
  await Promise.all([next(), next(), next(), next()]);
}
