/**
 * Fetches the public files of ComfyUI's frontend while the password is typed,
 * two at a time, so that they are in the browser's cache afterwards.
 * Gives a function that stops it: the log-in itself comes first.
 */
export function prefetch() {
  const abort = new AbortController();
  const saves = navigator.connection?.saveData;
  if (!saves) run(abort.signal).catch(() => {});
  return () => abort.abort();
}

async function run(signal) {
  const answer = await fetch('/_latch/prefetch.json', { signal });
  const files = answer.ok ? await answer.json() : [];
  const next = async () => {
    for (let file = files.shift(); file && !signal.aborted; file = files.shift()) {
      const got = await fetch(file, { signal, priority: 'low' });
      await got.arrayBuffer();
    }
  };
  await Promise.all([next(), next()]);
}
