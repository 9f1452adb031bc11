"""The studio's page with everything in it: map, pictures, model and what computes it. One file that opens from disk, or a folder.

A web server hands out the folder, which a browser loads and keeps piece by piece; it computes the same.
"""

import gzip
import hashlib
import json
import re
from base64 import b64encode
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import DataError, UsageError
from ..files import write_atomic, write_text
from ..run import Run
from ..studio.bundle import MOST_POINTS, MOST_THUMBS, Bundle, bundle_of
from ..studio.kept import kept_bundle
from .light import TRIED, light_codes, light_networks, light_thumbs
from .networks import networks

STUDIO = files("vaekit.studio")
RUNTIMES = {"ort": "ort.wasm.bundle.min.mjs", "ort-card": "ort.jspi.bundle.min.mjs"}  # the second one for graphics cards
WASM = {"wasm": "ort-wasm-simd-threaded.wasm.gz", "wasm-card": "ort-wasm-simd-threaded.jspi.wasm.gz"}
MARK = " · vaekit</title>"
MAILED = 15_000_000  # bytes that one file should have at most
UNHEARD = b"\0\n\r<"  # what a page reads as something else, or a way that it takes may change
WEIGHT = 8 / 7 * (1 + len(UNHEARD) / 128)  # bytes of a page for each one of a blob
NOWHERE = "default-src 'none'; img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; "
ALONE = NOWHERE + "script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'; style-src 'unsafe-inline'; connect-src 'none'"
# Modules become addresses of this page; the map of their names must be there before the first of them is imported.
BEGIN = """
/** The bytes of a part of this page: each character stands for seven bits of them, see text_of in vaekit. */
function bytesOf(part) {
  const text = part.textContent;
  const made = new Uint8Array(Math.floor((7 * text.length) / 8));
  for (let at = 0, to = 0, bits = 0, held = 0; to < made.length; at++) {
    held = ((held << 7) | (text.charCodeAt(at) & 127)) & 0x7fff;
    bits += 7;
    if (bits < 8) continue;
    bits -= 8;
    made[to++] = held >> bits;
  }
  return made;
}
const imports = {};
for (const part of document.querySelectorAll("script[data-module]")) {
  imports[part.dataset.module] = URL.createObjectURL(new Blob([bytesOf(part)], { type: "text/javascript" }));
}
for (const [type, text] of [["importmap", JSON.stringify({ imports })], ["module", 'import "studio/packed.js";']]) {
  document.head.append(Object.assign(document.createElement("script"), { type, textContent: text }));
}
"""


def page_of(bundle: Bundle, nets: dict[str, bytes], *, standard: bool, card: bool = False) -> str:
    """The page as one file. standard: whether new codes are draws from N(0, I), which is all that the page can draw from; card:
    whether it can use a graphics card too, where the browser has WebGPU."""
    blobs = {f'id="blob-{name}"': blob for name, blob in packed(bundle, nets, card).items()}
    modules = {f"studio/{name}": source for name, source in static(".js").items()} | runtimes(card)
    modules = {f'data-module="{name}"': source for name, source in modules.items()}
    parts = [f'<script type="text/plain" {what}>{text_of(blob)}</script>' for what, blob in (blobs | modules).items()]
    (style,) = static(".css").values()
    head = f"<style>\n{style.decode()}</style>\n"
    return filled(bundle.manifest | {"card": card}, standard, ALONE, head, [*parts, f"<script>{BEGIN}</script>"])


def files_of(bundle: Bundle, nets: dict[str, bytes], *, standard: bool) -> dict[str, bytes]:
    """The page as files by their paths in a folder; `standard` as in `page_of`. A browser loads those that it can use."""
    names = json.dumps({"imports": {"studio/": "./static/", **{name: f"./static/{name}.js" for name in RUNTIMES}}})
    inline = b64encode(hashlib.sha256(names.encode()).digest()).decode()
    policy = NOWHERE + f"script-src 'self' 'sha256-{inline}' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'"
    head = (
        '<link rel="stylesheet" href="static/studio.css">\n'
        f'<script type="importmap">{names}</script>\n<script type="module" src="static/packed.js"></script>\n'
    )
    return {
        "index.html": filled(bundle.manifest | {"card": True}, standard, policy, head, []).encode(),
        **{f"static/{name}": source for name, source in static(".js", ".css").items()},
        **{f"static/{name}.js": source for name, source in runtimes(True).items()},  # not every server knows .mjs
        **{f"data/{name}.bin": blob for name, blob in packed(bundle, nets, True).items()},
    }


def filled(manifest: dict[str, Any], standard: bool, policy: str, head: str, body: list[str]) -> str:
    """The studio's page with another head and a longer body, and the manifest of what it shows."""
    own = {"path": manifest["name"], "state": "", "has_prior": standard, "priors": [], "condition": None, "notes": []}
    told = json.dumps(manifest | own, allow_nan=False).replace("<", "\\u003c")  # it cannot end the element that it stands in
    html = (STUDIO / "static" / "index.html").read_text()
    html = re.sub(r'<link rel="stylesheet".*(?=</head>)', lambda _: head, html, flags=re.S)
    html = html.replace(
        '<meta charset="utf-8">', f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">'
    )
    html = html.replace("<title>vaekit studio</title>", f"<title>{escaped(manifest['name'])}{MARK}")
    parts = [f'<script type="application/json" id="manifest">{told}</script>', *body]
    return html.replace("</body>", "\n".join(parts) + "\n</body>")


def write_page(run: Run, data: Dataset, path: Path, most: int = MOST_POINTS, layout: str = "pca", *, card: bool = False) -> Path:
    """One HTML file with the studio of this run; layout: of its map, see `latent.project.arrange`; card: see `page_of`.

    Raises as `networks`.
    """
    bundle, nets, standard = gathered(run, data, most, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = replace(bundle, blobs={name: blob for name, blob in bundle.blobs.items() if name != "thumbs"})
    room = int((MAILED - len(page_of(bare, nets, standard=standard).encode())) / WEIGHT)
    write_text(path, page_of(light_thumbs(bundle, run.as_measured(data), room), nets, standard=standard, card=card))
    return path


def write_folder(run: Run, data: Dataset, folder: Path, most: int = MOST_POINTS, layout: str = "pca") -> Path:
    """The same page as a folder for a web server; its index.html.

    Raises as `networks`, and UsageError where something else is there already.
    """
    index = folder / "index.html"
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or is_ours(index))):
        raise UsageError(f"{folder} holds something else. Give an empty folder, or one that --dir has made before.")
    bundle, nets, standard = gathered(run, data, most, layout)
    for name, content in files_of(bundle, nets, standard=standard).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda out, content=content: out.write(content))
    return index


def is_ours(index: Path) -> bool:
    return index.is_file() and MARK in index.read_text(errors="replace")


def gathered(run: Run, data: Dataset, most: int, layout: str) -> tuple[Bundle, dict[str, bytes], bool]:
    """What the page shows, and the networks, both rounded as far as pictures allow; and `standard` as in `page_of`."""
    model, data = run.load_model("cpu"), run.as_measured(data)
    how: dict[str, Any] = {"most": min(most, MOST_THUMBS), "layout": layout}  # nobody can be asked for a picture
    bundle = kept_bundle(run, data, lambda: bundle_of(run, model, data, **how), **how)
    nets = light_networks(model, networks(model), bundle.mu, data.take(bundle.rows[:: max(len(bundle.rows) // TRIED, 1)][:TRIED]))
    return light_codes(model, bundle), nets, model.is_standard


def packed(bundle: Bundle, nets: dict[str, bytes], card: bool) -> dict[str, bytes]:
    """Arrays, networks and what computes them, compressed, by name."""
    blobs = {name: gzip.compress(blob, 9, mtime=0) for name, blob in {**bundle.blobs, **nets}.items()}
    return blobs | {name: vendored(file) for name, file in WASM.items() if card or name == "wasm"}


def runtimes(card: bool) -> dict[str, bytes]:
    """The modules that run networks, by the names that the page imports them by."""
    return {name: vendored(file) for name, file in RUNTIMES.items() if card or name == "ort"}


def static(*endings: str) -> dict[str, bytes]:
    """The studio's own files with these endings, by name."""
    found = {place.name: place.read_bytes() for place in (STUDIO / "static").iterdir() if place.name.endswith(endings)}
    return dict(sorted(found.items()))


def text_of(blob: bytes) -> str:
    """Bytes as characters of seven bits each, one byte in UTF-8; for the UNHEARD stand those 128 later, which are two bytes."""
    bits = np.unpackbits(np.frombuffer(blob, np.uint8))
    sevens = np.packbits(np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7), axis=1) >> 1
    sevens[np.isin(sevens, list(UNHEARD))] |= 128
    return sevens.tobytes().decode("latin-1")


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def vendored(name: str) -> bytes:
    """A file that others made, as it was when it was taken in. Raises DataError where it is no longer that."""
    sums = dict(line.split()[::-1] for line in (STUDIO / "vendor" / "SHA256SUMS").read_text().splitlines())
    found = (STUDIO / "vendor" / name).read_bytes()
    if hashlib.sha256(found).hexdigest() != sums[name]:
        raise DataError(f"{name} of this installation was changed. Install vaekit again.")
    return found
