#!/usr/bin/env python3
"""Queue a prompt, wait for it on the WebSocket, save the picture.

    pip install websocket-client
    export COMFYUI_URL=http://127.0.0.1:8189 COMFYUI_API_KEY=...
    python3 websocket_client.py picture.png

COMFYUI_SEND says how the key is sent: bearer (the default), basic, x-api-key,
token, api_key or path. Use one; the others are for clients that cannot do better.
"""
import base64, json, os, random, sys, urllib.request, uuid
from urllib.parse import quote, urlencode

import websocket  # the package is called websocket-client

url = os.environ.get("COMFYUI_URL", "http://127.0.0.1:8189").rstrip("/")
key = os.environ["COMFYUI_API_KEY"]
send = os.environ.get("COMFYUI_SEND", "bearer")
headers = {
    "bearer": {"Authorization": "Bearer " + key},
    "basic": {"Authorization": "Basic " + base64.b64encode(b"any:" + key.encode()).decode()},
    "x-api-key": {"X-API-Key": key},
}.get(send, {})
query = {send: key} if send in ("token", "api_key") else {}
prefix = "/k/" + quote(key, safe="") if send == "path" else ""


def address(path, **params):
    return url + prefix + path + "?" + urlencode({**query, **params})


def call(path, body=None, **params):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address(path, **params), data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


prompt = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": random.randrange(1 << 24)}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "example"}},
}
client_id = str(uuid.uuid4())
ws = websocket.create_connection("ws" + address("/ws", clientId=client_id).removeprefix("http"), timeout=300, header=headers)
prompt_id = json.loads(call("/prompt", {"prompt": prompt, "client_id": client_id}))["prompt_id"]
while True:
    message = ws.recv()
    if isinstance(message, bytes):
        continue  # a preview
    event = json.loads(message)
    if event["data"].get("prompt_id") != prompt_id:
        continue
    if event["type"] in ("execution_error", "execution_interrupted"):
        sys.exit("ComfyUI stopped: " + event["data"].get("exception_message", event["type"]))
    if event["type"] == "executing" and event["data"]["node"] is None:
        break  # done
ws.close()

image = json.loads(call("/history/" + prompt_id))[prompt_id]["outputs"]["3"]["images"][0]
target = sys.argv[1] if len(sys.argv) > 1 else image["filename"]
with open(target, "wb") as file:
    file.write(call("/view", **image))
print(target)
