#!/usr/bin/env python3
"""Give ComfyUI a picture that never lies on the server's disk.

    pip install requests cryptography
    export COMFYUI_URL=http://127.0.0.1:8189 COMFYUI_API_KEY=...
    python3 incognito.py picture.jpg

docs/incognito.md describes the format. COMFYUI_URL must be https:// as soon
as it leads to another machine: without it the key goes over the wire as it is.
"""
import base64, os, secrets, sys, time

import requests
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

url = os.environ.get("COMFYUI_URL", "http://127.0.0.1:8189").rstrip("/")
comfy = requests.Session()
comfy.headers["Authorization"] = "Bearer " + os.environ["COMFYUI_API_KEY"]


def call(method, path, **more):
    answer = comfy.request(method, url + path, timeout=60, **more)
    if not answer.ok:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer


def encrypt(picture, key, chunk=1 << 20):
    header = b"LATCHPIC\x01" + secrets.token_bytes(7)
    yield header
    last = (len(picture) - 1) // chunk
    for n in range(last + 1):
        nonce = header[9:] + n.to_bytes(4, "big") + bytes([n == last])
        yield AESGCM(key).encrypt(nonce, picture[n * chunk:(n + 1) * chunk], header)


picture, key = open(sys.argv[1], "rb").read(), secrets.token_bytes(32)
pieces = list(encrypt(picture, key))
api = "/_latch/api/incognito"
handle = call("POST", api, json={"size": sum(map(len, pieces))}).json()["handle"]
at = 0
for piece in pieces:
    at = call("PUT", f"{api}/{handle}?at={at}", data=piece).json()["at"]

call("POST", f"{api}/{handle}/unlock", json={"key": base64.b64encode(key).decode()})  # once for each run
prompt = {
    "1": {"class_type": "LatchLoadImageIncognito", "inputs": {"image": handle, "auto_delete": True}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
}
prompt_id = call("POST", "/prompt", json={"prompt": prompt}).json()["prompt_id"]
while not (done := call("GET", "/history/" + prompt_id).json()):
    time.sleep(0.3)
if done[prompt_id]["status"]["status_str"] != "success":
    sys.exit("ComfyUI failed: see its console")

image = done[prompt_id]["outputs"]["3"]["images"][0]
with open(sys.argv[2] if len(sys.argv) > 2 else image["filename"], "wb") as file:
    file.write(call("GET", "/view", params=image).content)
