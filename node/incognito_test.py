"""Tests of the companion node. Run by node_test.go, in two ways: in plain Python,
with stand-ins for what ComfyUI brings along, and in a Python that has the real
torch, numpy, Pillow and aiohttp, beside a real ComfyUI ($COMFYUI_DIR)."""

import asyncio
import hashlib
import importlib
import io
import json
import os
import sys
import tempfile
import types
import unittest

COMFYUI = os.environ.get("COMFYUI_DIR", "")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


class Queue:
    items = ([], [])

    def get_current_queue(self):
        return self.items


class Routes:
    def __init__(self):
        self.handlers = {}

    def __getattr__(self, method):
        def add(path):
            def keep(handler):
                self.handlers[method, path] = handler
                return handler
            return keep
        return add


class Server:
    def __init__(self):
        self.routes = Routes()
        self.app = types.SimpleNamespace(on_response_prepare=[], middlewares=["others"])
        self.prompt_queue = Queue()


stand_in("server", PromptServer=types.SimpleNamespace(instance=Server()))
sys.dont_write_bytecode = True
missing = []
for needed in ("torch", "numpy", "PIL", "aiohttp"):
    try:
        importlib.import_module(needed)
    except ImportError:
        missing.append(needed)
if "aiohttp" in missing:
    class Response:
        def __init__(self, status=200, text="", headers=None):
            self.status, self.text, self.headers = status, text, headers or {}
    stand_in("aiohttp.web", Response=Response, middleware=lambda f: f)
    stand_in("aiohttp", web=sys.modules["aiohttp.web"])

REAL_NODES = None
if COMFYUI and not missing:
    sys.path.insert(0, COMFYUI)
    from comfy.cli_args import args
    args.cpu = True
    sys.modules.pop("server")
    REAL_NODES = importlib.import_module("nodes")
    stand_in("server", PromptServer=types.SimpleNamespace(instance=Server()))
else:
    # LoadImage's shape: it asks folder_paths for the file, then reads it.
    source = "class LoadImage:\n FUNCTION = 'load_image'\n def load_image(self, image):\n  return [folder_paths.get_annotated_filepath(image).read()], folder_paths.other"
    fake = stand_in("nodes", NODE_CLASS_MAPPINGS={}, folder_paths=types.SimpleNamespace(other="other"))
    exec(source, fake.__dict__)

from comfylatch_incognito import incognito  # noqa: E402  also runs register()

A, B, C = ("pic_" + c * 32 for c in "abc")
SECRET = "s" * 40


def put(vault, handle, data, now=0.0):
    buffer = vault.reserve(handle, len(data))
    if buffer is None:
        return None
    buffer[:] = data
    vault.keep(handle, now)
    return buffer


class VaultTest(unittest.TestCase):
    def test_gives_back_what_it_got_again_and_again(self):
        vault = incognito.Vault()
        put(vault, A, b"picture")
        for _ in range(3):
            self.assertEqual(vault.open(A).read(), b"picture")
        self.assertIsNone(vault.open(B))

    def test_half_a_picture_is_none(self):
        vault = incognito.Vault()
        vault.reserve(A, 10)
        self.assertFalse(vault.has(A))
        self.assertIsNone(vault.open(A))
        self.assertIsNone(vault.reserve(A, 10), "two at once under one handle")

    def test_forgets_what_nobody_used_for_so_long(self):
        vault = incognito.Vault(life=100)
        put(vault, A, b"a", now=0)
        put(vault, B, b"b", now=0)
        vault.open(B, now=60)
        self.assertTrue(vault.sweep(now=100))
        self.assertFalse(vault.has(A))
        self.assertFalse(vault.sweep(now=160))
        self.assertFalse(vault.has(B))

    def test_keeps_what_a_prompt_waits_for(self):
        vault = incognito.Vault(room=10, life=100, waiting=lambda: {A})
        put(vault, A, b"a" * 5, now=0)
        put(vault, B, b"b" * 5, now=0)
        vault.sweep(now=1000)
        self.assertEqual((vault.has(A), vault.has(B)), (True, False))
        self.assertIsNotNone(put(vault, B, b"b" * 5))
        self.assertIsNotNone(put(vault, C, b"c" * 5), "the one that nobody waits for makes room")
        self.assertEqual((vault.has(A), vault.has(B), vault.has(C)), (True, False, True))
        vault.drop_idle()
        self.assertEqual((vault.has(A), vault.has(C)), (True, False))

    def test_holds_no_more_than_its_room(self):
        vault = incognito.Vault(room=10)
        self.assertIsNone(vault.reserve(A, 11))
        self.assertIsNotNone(vault.reserve(A, 6))
        self.assertIsNone(vault.reserve(B, 6), "one that is on its way counts too")
        vault.drop(A)
        self.assertIsNotNone(vault.reserve(B, 6))

    def test_wipes_what_it_drops(self):
        vault = incognito.Vault()
        for drop in (lambda: vault.drop(A), vault.drop_idle, lambda: vault.sweep(now=1e9), lambda: put(vault, A, b"another")):
            buffer = put(vault, A, b"picture")
            drop()
            self.assertEqual(bytes(buffer), bytes(7))


class Request:
    def __init__(self, method="PUT", path="/", handle=None, secret=SECRET, body=b"", length=None, pieces=None):
        self.method, self.path, self.body = method, path, body
        self.headers = {incognito.SECRET_HEADER: secret}
        self.match_info = {} if handle is None else {"handle": handle}
        self.content_length = len(body) if length is None else length
        self.pieces = pieces
        self.content = self

    async def iter_chunked(self, n):
        for piece in self.pieces or [self.body]:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    async def json(self):
        return json.loads(self.body)


class RoutesTest(unittest.TestCase):
    def setUp(self):
        self.server, self.vault = Server(), incognito.Vault(room=100)
        incognito.add_routes(self.server, self.vault, SECRET)

    def ask(self, method, **more):
        path = incognito.PATH + ("/{handle}" if "handle" in more else "")
        handler = self.server.routes.handlers[method, path]
        return asyncio.run(handler(Request(method.upper(), **more)))

    def test_put_get_delete(self):
        self.assertEqual(self.ask("get", handle=A).status, 404)
        answer = self.ask("put", handle=A, body=b"picture")
        self.assertEqual((answer.status, answer.headers[incognito.NODE_HEADER]), (201, incognito.VERSION))
        self.assertEqual(self.ask("get", handle=A).status, 204)
        self.assertEqual(self.ask("delete", handle=A).status, 204)
        self.assertEqual(self.ask("get", handle=A).status, 404)
        self.ask("put", handle=A, body=b"picture")
        self.assertEqual(self.ask("delete").status, 204)
        self.assertFalse(self.vault.has(A))

    def test_only_the_gate_is_heard(self):
        for secret in ("", "s" * 39, "S" * 40, "é" * 40):
            for method in ("put", "get", "delete"):
                self.assertEqual(self.ask(method, handle=A, secret=secret, body=b"x").status, 403)
            self.assertEqual(self.ask("delete", secret=secret).status, 403)
        self.assertFalse(self.vault.has(A))

    def test_without_a_secret_nobody_is_heard(self):
        for secret in ("", "short"):
            self.server = Server()
            incognito.add_routes(self.server, self.vault, secret)
            self.assertEqual(self.ask("put", handle=A, secret=secret, body=b"x").status, 403)

    def test_refuses_strange_handles_and_sizes(self):
        for handle in ("../login/PASSWORD", "pic_short", A + "a", A + "\n", "PIC_" + "a" * 32):
            self.assertEqual(self.ask("put", handle=handle, body=b"x").status, 404)
        self.assertEqual(self.ask("put", handle=A, body=b"").status, 411)
        self.assertEqual(self.ask("put", handle=A, body=b"x" * 101).status, 507)

    def test_keeps_nothing_of_a_picture_that_was_cut(self):
        for pieces in ([b"half"], [b"half", ConnectionResetError()], [b"half", asyncio.CancelledError()], [b"more than announced"]):
            with self.assertRaises(BaseException):
                self.ask("put", handle=A, length=8, pieces=pieces)
            self.assertFalse(self.vault.has(A))
            self.assertEqual(self.vault._used(), 0)

    def freed(self, path="/free", status=200, body=b'{"free_memory": true}', method="POST"):
        put(self.vault, A, b"picture")
        signal, = self.server.app.on_response_prepare
        asyncio.run(signal(Request(method, path, body=body), types.SimpleNamespace(status=status)))
        return not self.vault.has(A)

    def test_free_drops_the_pictures(self):
        self.assertTrue(self.freed())
        self.assertTrue(self.freed("/api/free"))
        self.assertFalse(self.freed(body=b'{"unload_models": true}'))
        self.assertFalse(self.freed("/prompt"))
        self.assertFalse(self.freed(status=400))
        self.assertFalse(self.freed(body=b"no json"))
        self.assertFalse(self.freed(method="GET"))

    def test_only_gate_shuts_everybody_else_out(self):
        server = Server()
        incognito.add_routes(server, self.vault, SECRET, only_gate=True)
        guard = server.app.middlewares[0]

        async def handler(request):
            return "in"

        self.assertEqual(asyncio.run(guard(Request(secret=""), handler)).status, 403)
        self.assertEqual(asyncio.run(guard(Request(), handler)), "in")
        self.assertEqual(self.server.app.middlewares, ["others"])


class NodeTest(unittest.TestCase):
    def setUp(self):
        incognito.VAULT._whole.clear()

    def test_menu_and_outputs(self):
        node = incognito.NODE_CLASS_MAPPINGS["LatchLoadImageIncognito"]
        self.assertEqual((node.CATEGORY, node.RETURN_TYPES), ("image", ("IMAGE", "MASK")))
        self.assertEqual(incognito.NODE_DISPLAY_NAME_MAPPINGS["LatchLoadImageIncognito"], "Upload Image Incognito")
        self.assertEqual(node.INPUT_TYPES()["required"]["auto_delete"][1]["default"], True)
        self.assertTrue(incognito.NODE_CLASS_MAPPINGS["LoadImageIncognito"].DEPRECATED)

    def test_asks_for_the_picture_again(self):
        node = incognito.UploadImageIncognito
        for image in (A, "", "../login/PASSWORD", None, 5):
            self.assertEqual(node.VALIDATE_INPUTS(image), incognito.AGAIN)
        with self.assertRaisesRegex(RuntimeError, incognito.AGAIN):
            node().load(A)
        put(incognito.VAULT, A, b"picture")
        self.assertIs(node.VALIDATE_INPUTS(A), True)

    def test_prompts_that_wait_are_seen(self):
        from server import PromptServer
        item = (0, "id", {"1": {"class_type": "x", "inputs": {"image": A}}, "2": {"inputs": {"image": ["1", 0]}}, "3": {}}, {}, [])
        PromptServer.instance.prompt_queue.items = ([item], [])
        self.assertEqual(incognito.in_queue(), {A})
        PromptServer.instance.prompt_queue.items = ([], [])


@unittest.skipIf(REAL_NODES, "the real LoadImage is here")
class OwnCodeTest(unittest.TestCase):
    def test_decodes_with_loadimages_own_code(self):
        import nodes
        before = dict(nodes.__dict__)
        self.assertEqual(incognito.decode(io.BytesIO(b"picture")), ([b"picture"], "other"))
        self.assertEqual(before, nodes.__dict__, "something of ComfyUI was changed")

    def test_a_wrapped_loadimage_is_left_alone(self):
        import nodes
        own, by_hand = nodes.LoadImage.load_image, incognito.decode_by_hand
        incognito.decode_by_hand = lambda stream: ("by hand", stream.read())
        try:
            nodes.LoadImage.load_image = lambda self, image: own(self, image)
            self.assertEqual(incognito.decode(io.BytesIO(b"picture")), ("by hand", b"picture"))
            exec("import os\ndef wants_a_file(self, image):\n folder_paths.get_annotated_filepath(image).read(1)\n open(folder_paths.get_annotated_filepath(image))", nodes.__dict__)
            nodes.LoadImage.load_image = nodes.wants_a_file
            self.assertEqual(incognito.decode(io.BytesIO(b"picture")), ("by hand", b"picture"))
        finally:
            nodes.LoadImage.load_image, incognito.decode_by_hand = own, by_hand


class Frames(list):
    """A stand-in for a picture file: frames of (mode, size, transparent)."""
    format = "PNG"


class Frame:
    def __init__(self, mode, size=(2, 2), info=(), pixels=255.0):
        self.mode, self.size, self.info, self.pixels = mode, size, info, pixels

    def getbands(self):
        return tuple(self.mode)

    def getchannel(self, _):
        return Frame("A", self.size, pixels=51.0)

    def convert(self, mode):
        return Frame(mode, self.size, pixels=self.pixels)

    def point(self, f):
        return Frame("L", self.size, pixels=f(self.pixels))


class Array:
    def __init__(self, shape, value):
        self.shape, self.value = shape, value

    def astype(self, _):
        return self

    def __truediv__(self, n):
        return Array(self.shape, self.value / n)

    def __rsub__(self, n):
        return Array(self.shape, n - self.value)

    def __getitem__(self, _):
        return Array((1,) + self.shape, self.value)


@unittest.skipUnless("torch" in missing, "the real torch is here")
class ByHandTest(unittest.TestCase):
    def setUp(self):
        stand_in("numpy", float32="float32", array=lambda f: Array((f.size[1], f.size[0]) + ((3,) if f.mode == "RGB" else ()), f.pixels))
        stand_in("torch", float32="float32", from_numpy=lambda a: a, cat=list, zeros=lambda shape, dtype: Array(shape, 0.0))
        names = {"Image": types.SimpleNamespace(open=lambda s: s), "ImageOps": types.SimpleNamespace(exif_transpose=lambda f: f),
                 "ImageSequence": types.SimpleNamespace(Iterator=iter)}
        for name, module in names.items():
            stand_in("PIL." + name, **vars(module))
        stand_in("PIL", **names)
        stand_in("node_helpers", pillow=lambda f, *a: f(*a))
        self.addCleanup(lambda: [sys.modules.pop(n) for n in ("node_helpers", "numpy", "torch", "PIL", "PIL.Image", "PIL.ImageOps", "PIL.ImageSequence")])

    def load(self, *frames, kind="PNG"):
        file = Frames(frames)
        file.format = kind
        images, masks = incognito.decode_by_hand(file)
        return [(i.shape, round(i.value, 3), m.shape, round(m.value, 3)) for i, m in zip(images, masks)]

    def test_modes(self):
        none = ((1, 64, 64), 0.0)
        for frame, want in ((Frame("RGB"), (1.0, *none)), (Frame("RGBA"), (1.0, (1, 2, 2), 0.8)), (Frame("LA"), (1.0, (1, 2, 2), 0.8)),
                            (Frame("P", info=("transparency",)), (1.0, (1, 2, 2), 0.8)), (Frame("P"), (1.0, *none)), (Frame("CMYK"), (1.0, *none)),
                            (Frame("I", pixels=65025.0), (1.0, *none))):
            self.assertEqual(self.load(frame), [((1, 2, 2, 3), *want)], frame.mode)

    def test_frames(self):
        self.assertEqual(len(self.load(Frame("RGB"), Frame("RGBA"), Frame("RGB", (3, 3)))), 2)
        self.assertEqual(len(self.load(Frame("RGB"), Frame("RGB"), kind="MPO")), 1)


def pictures():
    """Gives (name, bytes) of every kind of picture that LoadImage knows."""
    import numpy
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    noise = numpy.random.default_rng(1).integers(0, 256, (40, 60, 4), dtype=numpy.uint8)
    rgba, rgb = Image.fromarray(noise), Image.fromarray(noise[..., :3])
    other = Image.fromarray(noise[::-1, :, :3].copy())

    def save(picture, kind, **more):
        stream = io.BytesIO()
        picture.save(stream, kind, **more)
        return stream.getvalue()

    turned = Image.Exif()
    turned[0x0112] = 6
    text = PngInfo()
    text.add_text("workflow", "{}")
    yield "rgb.png", save(rgb, "PNG", pnginfo=text)
    yield "rgba.png", save(rgba, "PNG")
    yield "grey.png", save(rgb.convert("L"), "PNG")
    yield "grey-alpha.png", save(rgba.convert("LA"), "PNG")
    yield "one-bit.png", save(rgb.convert("1"), "PNG")
    yield "palette.png", save(rgb.quantize(16), "PNG")
    yield "palette-transparent.png", save(rgb.quantize(16), "PNG", transparency=3)
    yield "palette-partly.png", save(rgb.quantize(16), "PNG", transparency=bytes(range(0, 256, 16)))
    yield "rgb-transparent-colour.png", save(rgb, "PNG", transparency=(1, 2, 3))
    yield "16-bit.png", save(Image.fromarray((noise[..., 0].astype(numpy.uint16) << 8) + 17), "PNG")
    yield "32-bit.tiff", save(Image.fromarray(noise[..., 0].astype(numpy.int32) * 200, "I"), "TIFF")
    yield "jpeg.jpg", save(rgb, "JPEG", quality=90)
    yield "turned.jpg", save(rgb, "JPEG", exif=turned)
    yield "cmyk.jpg", save(rgb.convert("CMYK"), "JPEG")
    yield "animated.gif", save(rgb, "GIF", save_all=True, append_images=[other, rgb], duration=50)
    yield "animated.webp", save(rgba, "WEBP", save_all=True, append_images=[other.convert("RGBA")], lossless=True)
    yield "still.webp", save(rgba, "WEBP", lossless=True)
    yield "animated.png", save(rgb, "PNG", save_all=True, append_images=[other])
    yield "pages.tiff", save(rgb, "TIFF", save_all=True, append_images=[other])
    yield "two-sizes.tiff", save(rgb, "TIFF", save_all=True, append_images=[rgb.resize((10, 10))])
    yield "stereo.jpg", save(rgb, "MPO", save_all=True, append_images=[other])
    yield "jpeg-and-another.jpg", save(rgb, "JPEG") + save(other, "JPEG")
    yield "jpeg-and-a-tail.jpg", save(rgb, "JPEG") + bytes(5000)
    yield "cut.jpg", save(rgb, "JPEG", quality=95)[:-400]
    yield "still.gif", save(rgb, "GIF")
    yield "still.avif", save(rgb, "AVIF")
    yield "animated.avif", save(rgb, "AVIF", save_all=True, append_images=[other])
    yield "icon.ico", save(rgb, "ICO")
    yield "jpeg2000.jp2", save(rgb, "JPEG2000")
    yield "portable.ppm", save(rgb, "PPM")
    yield "cmyk.tiff", save(rgb.convert("CMYK"), "TIFF")
    yield "float.tiff", save(rgb.convert("F"), "TIFF")
    yield "stereo.mpo", save(rgb, "MPO", save_all=True, append_images=[other])
    yield "bitmap.bmp", save(rgb, "BMP")
    yield "turned.png", save(rgb, "PNG", exif=turned)


@unittest.skipUnless(REAL_NODES, "no real ComfyUI")
class RealTest(unittest.TestCase):
    def same(self, load, name, data):
        import torch
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            with open(path, "wb") as f:
                f.write(data)
            try:
                want = REAL_NODES.LoadImage().load_image(path)
            except Exception:
                try:
                    load(io.BytesIO(data))
                except Exception:
                    return "refused by both"
                return "LoadImage stumbles over it"
        got = load(io.BytesIO(data))
        for which, g, w in zip(("IMAGE", "MASK"), got, want):
            self.assertEqual((which, g.dtype, g.shape), (which, w.dtype, w.shape), name)
            self.assertTrue(torch.equal(g.nan_to_num(), w.nan_to_num()), f"{name}: {which} differs")
        return str(tuple(got[0].shape))

    def test_every_kind_of_picture_is_what_loadimage_gives(self):
        for name, data in pictures():
            with self.subTest(name):
                print(f"  {name}: {self.same(incognito.decode, name, data)}", file=sys.stderr)
        with self.subTest("no picture"):
            self.assertEqual(self.same(incognito.decode, "no.png", b"this is no picture"), "refused by both")

    def test_by_hand_is_what_the_old_loadimage_gave(self):
        if "VideoFromFile" in REAL_NODES.LoadImage.load_image.__code__.co_names:
            self.skipTest("this ComfyUI's LoadImage is a newer one")
        for name, data in pictures():
            with self.subTest(name):
                self.same(incognito.decode_by_hand, name, data)


if __name__ == "__main__":
    where = f"real ComfyUI at $COMFYUI_DIR with torch {sys.modules['torch'].__version__}" if REAL_NODES else "stand-ins"
    print(f"companion node tested with: {where}; not installed: {missing or 'nothing'}", file=sys.stderr)
    unittest.main(verbosity=1)
