// A private picture of this page: its key is here and nowhere else, and goes
// with the page. Whatever shows it may ask to be told of its changes.
import { root } from './session.js';
import { newKey, seal, sealedSize } from './seal.js';

const api = `${root}_latch/api/incognito`;
export const choose = 'Choose the picture again.';

const held = new Map(); // id → Picture; a node keeps the id, so that it finds its picture after an undo
const mostHeld = 24;

export class Picture extends EventTarget {
  #key = newKey();
  #handle = '';
  #uploaded;
  #shown = false; // the key, to the gate

  constructor(file) {
    super();
    this.id = [...crypto.getRandomValues(new Uint8Array(8))].map((b) => b.toString(16).padStart(2, '0')).join('');
    this.url = URL.createObjectURL(file);
    this.progress = 0; // 0 to 1
    this.trouble = '';
    this.#uploaded = this.#upload(file).catch((e) => this.#fail(e.message));
    held.set(this.id, this);
    if (held.size > mostHeld) held.values().next().value.forget();
  }

  static find(id) { return held.get(id); }

  /** For one run: shows the gate the key and gives what stands in the prompt. */
  async unlock() {
    await this.#uploaded;
    if (this.trouble) return '';
    try {
      await ask('POST', `${api}/${this.#handle}/unlock`, JSON.stringify({ key: btoa(String.fromCharCode(...this.#key)) }));
      this.#shown = true;
      this.#tell();
    } catch (e) {
      if (e.status === 410) this.#fail(choose);
      else this.dispatchEvent(new CustomEvent('refused', { detail: e.message }));
    }
    return this.#handle;
  }

  async #upload(file) {
    const limits = await ask('GET', api);
    if (file.size === 0 || file.size > limits.max) throw new Error(`The picture is too large: at most ${Math.floor(limits.max / 1048576)} MB.`);
    const size = sealedSize(file.size);
    this.#handle = (await ask('POST', api, JSON.stringify({ size }))).handle;
    let at = 0;
    for await (const piece of seal(file, this.#key)) {
      if (this.trouble) return;
      at = (await ask('PUT', `${api}/${this.#handle}?at=${at}`, piece)).at;
      this.progress = at / size;
      this.#tell();
    }
  }

  #fail(why) {
    this.trouble = why;
    this.#key.fill(0);
    this.#tell();
  }

  #tell() { this.dispatchEvent(new Event('change')); }

  /** Ends it here. What has not run goes at the gate too. */
  forget() {
    held.delete(this.id);
    if (this.#handle && !this.#shown) fetch(`${api}/${this.#handle}`, { method: 'DELETE', keepalive: true }).catch(() => {});
    this.#fail(choose);
  }
}

// What is not queued when the page goes can never be used again.
addEventListener('pagehide', (e) => {
  if (!e.persisted) for (const picture of [...held.values()]) picture.forget();
});

/** Sends a request to the gate; a refusal is an Error with its status. */
async function ask(method, address, body) {
  const answer = await fetch(address, { method, body, cache: 'no-store' });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(said.error ?? `${answer.status} ${answer.statusText}`), { status: answer.status });
  return said;
}
