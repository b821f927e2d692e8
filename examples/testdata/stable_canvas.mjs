// @stable-canvas/comfyui-client: queues a prompt and fetches its picture.
// node stable_canvas.mjs URL KEY
import { Client, plugins } from "@stable-canvas/comfyui-client";
import WebSocket from "ws";

const [url, key] = process.argv.slice(2);
const graph = {
  1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: Math.floor(Math.random() * 1e7) } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "stable" } },
};
setTimeout(() => { console.error("nothing came"); process.exit(1); }, 30_000);
const client = new Client({ api_host: new URL(url).host, WebSocket, fetch });
client.use(new plugins.LoginAuthPlugin({ token: key }));
await client.connect();
const out = await client.enqueue(graph, {});
const answer = await client.fetchApi("/view?" + new URL(out.images[0].data).searchParams);
console.log(Buffer.from(await answer.arrayBuffer()).subarray(1, 4).toString());
process.exit(0);
