// @saintno/comfyui-sdk: queues a prompt and fetches its picture.
// node saintno.mjs URL KEY bearer|basic
import { ComfyApi, CallWrapper, PromptBuilder } from "@saintno/comfyui-sdk";

const [url, key, way] = process.argv.slice(2);
const credentials = way === "basic" ? { type: "basic", username: "any", password: key } : { type: "bearer_token", token: key };
const graph = {
  1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: Math.floor(Math.random() * 1e7) } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "saintno" } },
};
const fail = (why) => { console.error(why); process.exit(1); };
setTimeout(() => fail("nothing came"), 30_000);
const api = new ComfyApi(url, "saintno-" + Math.random(), { credentials, forceWs: true });
await api.init().waitForReady();
const workflow = new PromptBuilder(graph, ["color"], ["images"]).setInputNode("color", "1.inputs.color").setOutputNode("images", "2");
new CallWrapper(api, workflow)
  .onFailed((e) => fail(e.message))
  .onFinished(async (out) => {
    const picture = Buffer.from(await (await api.getImage(out.images.images[0])).arrayBuffer());
    console.log(picture.subarray(1, 4).toString());
    process.exit(0);
  })
  .run();
