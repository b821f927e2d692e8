// Tells the gate that nobody is here any more, so that ComfyUI's memory can be
// freed. The gate does so only when nobody else works or waits.
import { root } from './session.js';

const idle = 30 * 60 * 1000; // ms

/** Says good-bye now: while the session is still good. Set by watchLeaving. */
export let leave = () => {};

/** Watches for the window closing and for half an hour without a touch. */
export function watchLeaving(api, wanted) {
  let said = false; // once is enough until somebody touches something
  leave = () => {
    if (said || !api.clientId || !wanted()) return;
    said = true;
    navigator.sendBeacon(`${root}_latch/leave`, JSON.stringify({ clientId: api.clientId }));
  };
  addEventListener('pagehide', () => {
    leave();
    // A page that the browser keeps for "back" would keep its socket open, as
    // if somebody were here. It connects again by itself if it comes back.
    api.socket?.close();
  });

  let timer;
  const touched = () => {
    said = false;
    clearTimeout(timer);
    timer = setTimeout(() => leave(), idle);
  };
  for (const event of ['mousemove', 'keydown', 'scroll', 'wheel', 'touchstart', 'pointerdown']) {
    addEventListener(event, touched, { passive: true, capture: true });
  }
  touched();
}
