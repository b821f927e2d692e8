#!/usr/bin/env python3
"""Queue a prompt with requests, ask until it is done, save the picture.

    pip install requests
    export COMFYUI_URL=http://127.0.0.1:8189 COMFYUI_API_KEY=...
    python3 requests_client.py picture.png

COMFYUI_SEND says how the key is sent: bearer (the default), basic, x-api-key,
token, api_key or path.
"""
import os, random, sys, time
from urllib.parse import quote

import requests

url = os.environ.get("COMFYUI_URL", "http://127.0.0.1:8189").rstrip("/")
key = os.environ["COMFYUI_API_KEY"]
send = os.environ.get("COMFYUI_SEND", "bearer")

comfy = requests.Session()
if send == "bearer":
    comfy.headers["Authorization"] = "Bearer " + key
elif send == "basic":
    comfy.auth = ("any", key)
elif send == "x-api-key":
    comfy.headers["X-API-Key"] = key
elif send in ("token", "api_key"):
    comfy.params = {send: key}
elif send == "path":
    url += "/k/" + quote(key, safe="")


def call(method, path, **more):
    answer = comfy.request(method, url + path, timeout=60, **more)
    if not answer.ok:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer


prompt = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": random.randrange(1 << 24)}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "example"}},
}
prompt_id = call("POST", "/prompt", json={"prompt": prompt}).json()["prompt_id"]
while not (done := call("GET", "/history/" + prompt_id).json()):
    time.sleep(0.3)
if done[prompt_id]["status"]["status_str"] != "success":
    sys.exit("ComfyUI failed: see its console")

image = done[prompt_id]["outputs"]["3"]["images"][0]
target = sys.argv[1] if len(sys.argv) > 1 else image["filename"]
with open(target, "wb") as file:
    file.write(call("GET", "/view", params=image).content)
print(target)
