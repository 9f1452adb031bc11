"""Picture files for the data tests: good ones of every kind, and broken ones of every kind."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from commands import SHAPES


def scene(seed: int, height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """A smooth random picture (H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    array = np.asarray(small)
    return array if channels == 3 else array[..., :1] if channels == 1 else np.dstack([array, array[..., 0]])


def encoded(seed: int, kind: str = "PNG", height: int = 48, width: int = 64, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(seed, height, width)).save(file, kind, **options)
    return file.getvalue()


def folder_of(path: Path, count: int, kind: str = "PNG", **shape) -> Path:
    """`count` different good pictures, 000.png, 001.png, ..."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (path / f"{i:03d}.{kind.lower()}").write_bytes(encoded(i, kind, **shape))
    return path


def shapes_with_attributes(home: Path) -> Path:
    """home/pictures with 60 circles and 60 squares of 16 x 16, and home/table.csv with their attributes Dark, Big and Shade."""
    rng = np.random.default_rng(0)
    rows = ["file,Dark,Big,Shade"]
    for shape in SHAPES:
        (home / "pictures" / shape).mkdir(parents=True)
        for i in range(60):
            dark, big = i % 2, i // 2 % 2
            pixels = np.full((16, 16, 3), rng.integers(150, 250, 3), np.uint8)
            radius = 6 if big else 3
            y, x = np.mgrid[-7.5:8, -7.5:8]
            inside = (x**2 + y**2 < radius**2) if shape == "circles" else (np.maximum(abs(x), abs(y)) < radius)
            pixels[inside] = rng.integers(0, 60) if dark else rng.integers(90, 140)
            Image.fromarray(pixels).save(home / "pictures" / shape / f"{i:02d}.png")
            rows.append(f"{shape}/{i:02d}.png,{dark},{big},{rng.random():.2f}")
    (home / "table.csv").write_text("\n".join(rows) + "\n")
    return home


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes cannot hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def break_folder(path: Path, good: str = "000.png") -> dict[str, str]:
    """Put 40 broken files into a folder that holds a good picture; the answer is name -> expected reason."""
    broken: dict[str, str] = {}

    def put(name: str, data: bytes, reason: str) -> None:
        (path / name).write_bytes(data)
        broken[name] = reason

    kinds = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("GIF", "gif"), ("TIFF", "tif"))
    for kind, suffix in kinds:  # 6 + 6 + 6
        data = encoded(900, kind)
        put(f"half.{suffix}", data[: len(data) // 2], "cut")
        put(f"tail.{suffix}", encoded(901, kind)[:-100] if kind != "GIF" else encoded(901, kind)[:-300], "cut")
        put(f"empty.{suffix.upper()}", b"", "empty file")
    for i, suffix in enumerate(("jpg", "png", "webp", "bmp", "gif", "tiff")):  # 6
        put(f"text{i}.{suffix}", f"this is text {i}".encode(), "not an image")
    put("page.jpg", b"<html><body>404</body></html>", "not an image")
    put("archive.png", b"PK\x03\x04" + bytes(200), "not an image")
    put("zeros.jpg", bytes(4096), "not an image")
    put("noise.webp", np.random.default_rng(0).bytes(3000), "not an image")
    put("bomb.png", png_claiming(60_000, 60_000), "decompression bomb")
    put("bomb2.png", png_claiming(12_000, 12_000), "decompression bomb")
    put("header.png", encoded(902)[:33], "cut")
    put("flipped.png", encoded(903)[:60] + b"\xff" * 40 + encoded(903)[100:], "cut")
    put("float.tiff", tiff(np.linspace(-3, 3, 64, dtype=np.float32).reshape(8, 8)), "unsupported format")
    put("deep.tiff", tiff(np.arange(64, dtype=np.int32).reshape(8, 8) * 100_000), "unsupported format")
    put("twin.png", (path / good).read_bytes(), "duplicate")
    put("twin2.jpg", (path / good).read_bytes(), "duplicate")
    put("phone.heic", b"\0\0\0\x18ftypheic", "unsupported format")
    (path / "nowhere.jpg").symlink_to(path / "missing")
    (path / "loop.png").symlink_to(path / "loop.png")
    os.mkfifo(path / "pipe.png")
    return broken | {"nowhere.jpg": "unreadable", "loop.png": "unreadable", "pipe.png": "not an image"}


def tiff(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF")
    return file.getvalue()
