// Encrypts a picture in this browser, piece by piece. docs/incognito.md and
// internal/incognito/format.go describe the format.

const magic = [...'LATCHPIC'].map((c) => c.charCodeAt(0)).concat(1);
const chunk = 1 << 20; // plain bytes
const tag = 16;

/** The bytes that n bytes of a picture become. */
export function sealedSize(n) {
  return magic.length + 7 + n + Math.ceil(n / chunk) * tag;
}

/** A fresh key: 256 random bits. */
export function newKey() {
  return crypto.getRandomValues(new Uint8Array(32));
}

/** Yields the encrypted picture in pieces of about 1 MiB. */
export async function* seal(blob, key) {
  const header = new Uint8Array(16);
  header.set(magic);
  header.set(crypto.getRandomValues(new Uint8Array(7)), magic.length);
  const encrypt = await cipher(key);
  const last = Math.ceil(blob.size / chunk) - 1;
  for (let n = 0; n <= last; n++) {
    const nonce = new Uint8Array(12);
    nonce.set(header.subarray(magic.length));
    new DataView(nonce.buffer).setUint32(7, n);
    nonce[11] = n === last ? 1 : 0;
    const plain = new Uint8Array(await blob.slice(n * chunk, (n + 1) * chunk).arrayBuffer());
    const piece = await encrypt(nonce, header, plain);
    plain.fill(0);
    if (n > 0) yield piece;
    else yield join(header, piece);
  }
}

// WebCrypto where the browser has it. Without, @noble/ciphers does the same.
async function cipher(key) {
  const subtle = globalThis.crypto?.subtle;
  if (subtle) {
    const own = await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt']);
    return async (iv, additionalData, plain) => new Uint8Array(await subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, own, plain));
  }
  const { gcm } = await import('./noble-ciphers.js');
  return async (nonce, header, plain) => gcm(key, nonce, header).encrypt(plain);
}

function join(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
