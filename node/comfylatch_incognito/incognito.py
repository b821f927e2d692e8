"""Upload Image Incognito: pictures that only ever are in memory.

The gate in front of ComfyUI hands over a plain picture on a route that no
visitor reaches; the node decodes it with ComfyUI's own LoadImage. Nothing is
written to a disk, and nothing of ComfyUI is changed. The picture is kept as it
came (a decoded one is ten times as large) until nobody has used it for an
hour, the gate says that its owner has left, /free is called, or ComfyUI ends.
"""

import asyncio
import hmac
import io
import json
import logging
import os
import re
import threading
import time
import types

VERSION = "1"
SECRET_HEADER = "Comfylatch-Secret"
NODE_HEADER = "Comfylatch-Node"
PATH = "/comfylatch/pictures"
AGAIN = "choose the picture again"
HANDLE = re.compile(r"pic_[A-Za-z0-9_-]{32}\Z")
LIFE = 3600.0  # seconds without use
ROOM = 1 << 30  # bytes of all pictures together


class Vault:
    """Pictures by handle. Safe to use from several threads."""

    def __init__(self, room=ROOM, life=LIFE, waiting=lambda: set()):
        self._lock = threading.Lock()
        self._whole = {}  # handle -> [bytearray, time of last use], oldest first
        self._coming = {}  # handle -> bytearray, reserved and not yet whole
        self._room, self._life, self._waiting = room, life, waiting

    def reserve(self, handle, size):
        """Gives a buffer of size bytes to fill, or None where there is no room.
        What nobody waits for makes room, the longest unused first."""
        waiting = self._waiting()
        with self._lock:
            if handle in self._coming:
                return None
            self._drop(handle)
            for old in list(self._whole):
                if self._used() + size <= self._room:
                    break
                if old not in waiting:
                    self._drop(old)
            if self._used() + size > self._room:
                return None
            self._coming[handle] = bytearray(size)
            return self._coming[handle]

    def keep(self, handle, now=None):
        """The reserved buffer is full: now it is a picture."""
        with self._lock:
            data = self._coming.pop(handle)
            self._whole[handle] = [data, time.monotonic() if now is None else now]

    def has(self, handle):
        with self._lock:
            return handle in self._whole

    def open(self, handle, now=None):
        """Gives a stream of the picture's bytes, or None."""
        with self._lock:
            entry = self._whole.pop(handle, None)
            if entry is None:
                return None
            entry[1] = time.monotonic() if now is None else now
            self._whole[handle] = entry  # behind all others
            return io.BytesIO(entry[0])

    def drop(self, handle):
        with self._lock:
            self._drop(handle)

    def drop_idle(self):
        """Drops what no prompt in the queue waits for."""
        waiting = self._waiting()
        with self._lock:
            for handle in [h for h in self._whole if h not in waiting]:
                self._drop(handle)

    def sweep(self, now=None):
        """Drops what was not used for too long, and tells whether anything is left."""
        now = time.monotonic() if now is None else now
        with self._lock:
            old = [h for h, entry in self._whole.items() if now - entry[1] >= self._life]
        waiting = self._waiting() if old else set()
        with self._lock:
            for handle in old:
                if handle in waiting:
                    self._whole[handle][1] = now
                else:
                    self._drop(handle)
            return bool(self._whole)

    def _used(self):
        return sum(len(e[0]) for e in self._whole.values()) + sum(map(len, self._coming.values()))

    def _drop(self, handle):
        for data in (self._whole.pop(handle, [None])[0], self._coming.pop(handle, None)):
            if data is not None:
                data[:] = bytes(len(data))  # what is in swap or a core dump is not ours to reach


def in_queue():
    """The handles that prompts which run or wait have named."""
    from server import PromptServer

    handles = set()
    for items in PromptServer.instance.prompt_queue.get_current_queue():
        for item in items:
            for node in item[2].values():
                handle = node.get("inputs", {}).get("image")
                if isinstance(handle, str):
                    handles.add(handle)
    return handles


VAULT = Vault(waiting=in_queue)


class _Given:
    """ComfyUI's folder_paths, but for the one file that LoadImage asks for."""

    def __init__(self, stream, real):
        self._stream, self._real = stream, real

    def get_annotated_filepath(self, *_, **__):
        return self._stream

    def __getattr__(self, name):
        return getattr(self._real, name)


def decode(stream):
    """Gives IMAGE and MASK exactly as this ComfyUI's LoadImage does.

    How that decodes differs between versions (Pillow, PyAV, data types), so its
    own code is run, with the stream where it would find the file's name.
    Where it cannot be (wrapped by another custom node, rewritten, a format that
    is told by a file's name only), decode_by_hand.
    """
    import nodes

    own = getattr(nodes.LoadImage, getattr(nodes.LoadImage, "FUNCTION", ""), None)
    code = getattr(own, "__code__", None)
    if code is not None and "get_annotated_filepath" in code.co_names and not code.co_freevars:
        names = dict(own.__globals__)
        names["folder_paths"] = _Given(stream, names.get("folder_paths"))
        try:
            batch = types.FunctionType(code, names, own.__name__, own.__defaults__)(nodes.LoadImage(), "")
        except Exception:  # it wants a file with a name, or cannot read the picture
            stream.seek(0)
        else:
            # PyAV, which goes by a file's name, takes the gain map or the second
            # eye behind a phone's JPEG for a frame where there is no name.
            return tuple(t[:1] for t in batch) if len(batch[0]) > 1 and is_still(stream) else batch
    return decode_by_hand(stream)


def is_still(stream):
    from PIL import Image

    stream.seek(0)
    file = Image.open(stream)
    return file.format == "MPO" or getattr(file, "n_frames", 1) == 1


def decode_by_hand(stream):
    """What LoadImage of ComfyUI 0.3.64 does."""
    import node_helpers
    import numpy
    import torch
    from PIL import Image, ImageOps, ImageSequence

    def floats(picture):
        return torch.from_numpy(numpy.array(picture).astype(numpy.float32) / 255.0)

    file = node_helpers.pillow(Image.open, stream)
    images, masks = [], []
    for frame in ImageSequence.Iterator(file):
        frame = node_helpers.pillow(ImageOps.exif_transpose, frame)
        if frame.mode == "I":  # 16 bits
            frame = frame.point(lambda v: v * (1 / 255))
        image = floats(frame.convert("RGB"))
        if images and image.shape != images[0].shape[1:]:
            continue  # a batch has one size
        if "A" in frame.getbands():
            mask = 1.0 - floats(frame.getchannel("A"))
        elif frame.mode == "P" and "transparency" in frame.info:
            mask = 1.0 - floats(frame.convert("RGBA").getchannel("A"))
        else:
            mask = torch.zeros((64, 64), dtype=torch.float32)
        images.append(image[None,])
        masks.append(mask[None,])
        if file.format == "MPO":  # further frames are depth maps and previews
            break
    return torch.cat(images), torch.cat(masks)


class UploadImageIncognito:
    CATEGORY = "image"
    DESCRIPTION = "Loads a picture that is encrypted in your browser and never written to the server's disk."
    SEARCH_ALIASES = ["private image", "encrypted image", "load image incognito"]
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
            "image": ("COMFYLATCH_PICTURE", {"socketless": True}),
            "auto_delete": ("BOOLEAN", {"default": True, "tooltip": "Delete the encrypted picture after the first run."}),
        }}

    @classmethod
    def VALIDATE_INPUTS(cls, image):
        return True if isinstance(image, str) and VAULT.has(image) else AGAIN

    def load(self, image, auto_delete=True):
        stream = VAULT.open(image)
        if stream is None:
            raise RuntimeError("Upload Image Incognito: " + AGAIN)
        return decode(stream)


class LoadImageIncognito(UploadImageIncognito):
    """ComfyUI-Login's name, so that workflows made with it open."""

    DEPRECATED = True


NODE_CLASS_MAPPINGS = {"LatchLoadImageIncognito": UploadImageIncognito}
NODE_DISPLAY_NAME_MAPPINGS = {"LatchLoadImageIncognito": "Upload Image Incognito"}


def settings():
    try:
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "comfylatch.json"), encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def register():
    """Adds the gate's routes to ComfyUI's server."""
    import nodes
    from server import PromptServer

    if "LoadImageIncognito" not in nodes.NODE_CLASS_MAPPINGS:  # else ComfyUI-Login is here
        NODE_CLASS_MAPPINGS["LoadImageIncognito"] = LoadImageIncognito
        NODE_DISPLAY_NAME_MAPPINGS["LoadImageIncognito"] = "Upload Image Incognito (ComfyUI-Login)"
    found = settings()
    if len(str(found.get("secret", ""))) < 32:
        logging.error("comfylatch: Upload Image Incognito does not work: its secret is missing or cannot be read. Run: comfylatch node install")
    add_routes(PromptServer.instance, VAULT, str(found.get("secret", "")), bool(found.get("only_gate")))


def add_routes(server, vault, secret, only_gate=False):
    from aiohttp import web

    timer = []

    def watch():
        timer.clear()
        if vault.sweep():
            later(LIFE / 60)

    def later(seconds):
        if not timer:
            timer.append(asyncio.get_running_loop().call_later(seconds, watch))

    def is_gate(request):
        given = request.headers.get(SECRET_HEADER, "")
        return len(secret) >= 32 and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode("utf-8"))

    def say(status):
        return web.Response(status=status, headers={NODE_HEADER: VERSION})

    def for_gate(handler):
        async def checked(request):
            if not is_gate(request):
                return say(403)
            handle = request.match_info.get("handle")
            if handle is not None and not HANDLE.match(handle):
                return say(404)
            return await handler(request, handle)
        return checked

    async def put(request, handle):
        size = request.content_length
        if not size:
            return say(411)
        buffer = vault.reserve(handle, size)
        if buffer is None:
            return say(507)
        try:
            filled = 0
            async for piece in request.content.iter_chunked(1 << 18):
                buffer[filled:filled + len(piece)] = piece
                filled += len(piece)
            if filled != size:
                raise ConnectionError("the picture was cut off")
        except BaseException:  # also where the gate has gone and this task is cancelled
            vault.drop(handle)
            raise
        vault.keep(handle)
        later(LIFE / 60)
        return say(201)

    async def get(_, handle):
        return say(204 if vault.has(handle) else 404)

    async def delete(_, handle):
        vault.drop(handle)
        return say(204)

    async def delete_idle(*_):
        vault.drop_idle()
        return say(204)

    server.routes.put(PATH + "/{handle}")(for_gate(put))
    server.routes.get(PATH + "/{handle}")(for_gate(get))
    server.routes.delete(PATH + "/{handle}")(for_gate(delete))
    server.routes.delete(PATH)(for_gate(delete_idle))

    async def freed(request, response):
        if request.method != "POST" or request.path not in ("/free", "/api/free") or response.status != 200:
            return
        try:
            asked = await request.json()
        except ValueError:
            return
        if isinstance(asked, dict) and asked.get("free_memory"):
            vault.drop_idle()

    server.app.on_response_prepare.append(freed)

    if only_gate:
        @web.middleware
        async def gate_only(request, handler):
            if not is_gate(request):
                return web.Response(status=403, text="This ComfyUI answers comfylatch only.\n")
            return await handler(request)

        server.app.middlewares.insert(0, gate_only)
