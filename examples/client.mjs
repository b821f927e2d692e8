#!/usr/bin/env node
// Queue a prompt, ask until it is done, save the picture. Node 20 or newer,
// no packages.
//
//   export COMFYUI_URL=http://127.0.0.1:8189 COMFYUI_API_KEY=...
//   node client.mjs picture.png
//
// COMFYUI_SEND says how the key is sent: bearer (the default), basic,
// x-api-key, token, api_key or path.
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const url = (process.env.COMFYUI_URL ?? 'http://127.0.0.1:8189').replace(/\/+$/, '');
const key = process.env.COMFYUI_API_KEY;
const send = process.env.COMFYUI_SEND ?? 'bearer';
if (!key) throw new Error('set COMFYUI_API_KEY');

const headers = {
  bearer: { Authorization: `Bearer ${key}` },
  basic: { Authorization: `Basic ${Buffer.from(`any:${key}`).toString('base64')}` },
  'x-api-key': { 'X-API-Key': key },
}[send] ?? {};
const query = send === 'token' || send === 'api_key' ? { [send]: key } : {};
const prefix = send === 'path' ? `/k/${encodeURIComponent(key)}` : '';

async function call(path, { body, ...params } = {}) {
  const address = `${url}${prefix}${path}?${new URLSearchParams({ ...query, ...params })}`;
  const answer = await fetch(address, body
    ? { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
    : { headers });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

const color = Math.floor(Math.random() * 2 ** 24);
const prompt = {
  1: { class_type: 'EmptyImage', inputs: { width: 256, height: 256, batch_size: 1, color } },
  2: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
  3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'example' } },
};
const { prompt_id: id } = await (await call('/prompt', { body: { prompt } })).json();
let done;
while (!(done = (await (await call(`/history/${id}`)).json())[id])) await sleep(300);
if (done.status.status_str !== 'success') throw new Error("ComfyUI failed: see its console");

const image = done.outputs[3].images[0];
const target = process.argv[2] ?? image.filename;
await writeFile(target, Buffer.from(await (await call('/view', image)).arrayBuffer()));
console.log(target);
