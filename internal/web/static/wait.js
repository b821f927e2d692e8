// Looks again until ComfyUI answers, then opens the page that was asked for.
let pause = 1000;

async function look() {
  try {
    const answer = await fetch('/health', { cache: 'no-store' });
    if (answer.ok) {
      location.reload();
      return;
    }
  } catch { /* the gate itself restarts: it comes back as well */ }
  pause = Math.min(pause * 1.2, 5000);
  setTimeout(look, pause);
}

setTimeout(look, pause);
