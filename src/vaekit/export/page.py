"""The studio's page with everything in it: map, pictures, model and what computes it. One file that opens from disk, or a folder.

A web server hands out the folder, which a browser loads and keeps piece by piece; it computes the same.
"""

import gzip
import hashlib
import json
import re
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..errors import DataError, UsageError
from ..files import write_atomic, write_text
from ..model import Model
from ..run import Run
from ..studio.bundle import MOST_POINTS, MOST_THUMBS, Bundle, bundle_of
from ..studio.kept import kept_bundle
from .networks import networks

STUDIO = files("vaekit.studio")
RUNTIME, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm.gz"
MARK = " · vaekit</title>"
NOWHERE = "default-src 'none'; img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; "
ALONE = NOWHERE + "script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'; style-src 'unsafe-inline'; connect-src 'none'"
# Modules become addresses of this page; the map of their names must be there before the first of them is imported.
BEGIN = """
const imports = {};
for (const part of document.querySelectorAll("script[data-module]")) {
  const source = Uint8Array.from(atob(part.textContent), (c) => c.charCodeAt(0));
  imports[part.dataset.module] = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
}
for (const [type, text] of [["importmap", JSON.stringify({ imports })], ["module", 'import "studio/packed.js";']]) {
  document.head.append(Object.assign(document.createElement("script"), { type, textContent: text }));
}
"""


def page_of(bundle: Bundle, nets: dict[str, bytes], *, standard: bool) -> str:
    """The page as one file. standard: whether new codes are draws from N(0, I), which is all that the page can draw from."""
    parts = [
        f'<script type="text/plain" id="blob-{name}">{text_of(blob)}</script>' for name, blob in packed(bundle, nets).items()
    ]
    parts += [
        f'<script type="text/plain" data-module="{"ort" if name == RUNTIME else f"studio/{name}"}">{text_of(source)}</script>'
        for name, source in static(".js", ".mjs").items()
    ]
    (style,) = static(".css").values()
    head = f"<style>\n{style.decode()}</style>\n"
    return filled(bundle.manifest, standard, ALONE, head, [*parts, f"<script>{BEGIN}</script>"])


def files_of(bundle: Bundle, nets: dict[str, bytes], *, standard: bool) -> dict[str, bytes]:
    """The page as files by their paths in a folder; `standard` as in `page_of`."""
    names = json.dumps({"imports": {"studio/": "./static/", "ort": f"./static/{RUNTIME}"}})
    inline = b64encode(hashlib.sha256(names.encode()).digest()).decode()
    policy = NOWHERE + f"script-src 'self' 'sha256-{inline}' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'"
    head = (
        '<link rel="stylesheet" href="static/studio.css">\n'
        f'<script type="importmap">{names}</script>\n<script type="module" src="static/packed.js"></script>\n'
    )
    return {
        "index.html": filled(bundle.manifest, standard, policy, head, []).encode(),
        **{f"static/{name}": source for name, source in static(".js", ".mjs", ".css").items()},
        **{f"data/{name}.bin": blob for name, blob in packed(bundle, nets).items()},
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


def write_page(run: Run, data: Dataset, path: Path, most: int = MOST_POINTS, layout: str = "pca") -> Path:
    """One HTML file with the studio of this run; layout: of its map, see `latent.project.arrange`. Raises as `networks`."""
    bundle, model = gathered(run, data, most, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page_of(bundle, networks(model), standard=model.is_standard))
    return path


def write_folder(run: Run, data: Dataset, folder: Path, most: int = MOST_POINTS, layout: str = "pca") -> Path:
    """The same page as a folder for a web server; its index.html.

    Raises as `networks`, and UsageError where something else is there already.
    """
    index = folder / "index.html"
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or is_ours(index))):
        raise UsageError(f"{folder} holds something else. Give an empty folder, or one that --dir has made before.")
    bundle, model = gathered(run, data, most, layout)
    for name, content in files_of(bundle, networks(model), standard=model.is_standard).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda out, content=content: out.write(content))
    return index


def is_ours(index: Path) -> bool:
    return index.is_file() and MARK in index.read_text(errors="replace")


def gathered(run: Run, data: Dataset, most: int, layout: str) -> tuple[Bundle, Model]:
    model, data = run.load_model("cpu"), run.as_measured(data)
    how: dict[str, Any] = {"most": min(most, MOST_THUMBS), "layout": layout}  # nobody can be asked for a picture
    return kept_bundle(run, data, lambda: bundle_of(run, model, data, **how), **how), model


def packed(bundle: Bundle, nets: dict[str, bytes]) -> dict[str, bytes]:
    """Arrays, networks and what computes them, compressed, by name."""
    blobs = {name: gzip.compress(blob, 9, mtime=0) for name, blob in {**bundle.blobs, **nets}.items()}
    return blobs | {"wasm": vendored(WASM)}


def static(*endings: str) -> dict[str, bytes]:
    """The studio's own files with these endings, and the runtime where it has one of them, by name."""
    found = {place.name: place.read_bytes() for place in (STUDIO / "static").iterdir() if place.name.endswith(endings)}
    if RUNTIME.endswith(endings):
        found[RUNTIME] = vendored(RUNTIME)
    return dict(sorted(found.items()))


def text_of(blob: bytes) -> str:
    return b64encode(blob).decode()


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def vendored(name: str) -> bytes:
    """A file that others made, as it was when it was taken in. Raises DataError where it is no longer that."""
    sums = dict(line.split()[::-1] for line in (STUDIO / "vendor" / "SHA256SUMS").read_text().splitlines())
    found = (STUDIO / "vendor" / name).read_bytes()
    if hashlib.sha256(found).hexdigest() != sums[name]:
        raise DataError(f"{name} of this installation was changed. Install vaekit again.")
    return found
