"""The studio's page with everything in it: map, pictures, model and what computes it, in one file that opens from disk."""

import gzip
import hashlib
import json
import re
from base64 import b64encode
from importlib.resources import files
from pathlib import Path

from ..data import Dataset
from ..errors import DataError
from ..files import write_text
from ..run import Run
from ..studio.bundle import MOST_POINTS, MOST_THUMBS, Bundle, bundle_of
from .networks import networks

STUDIO = files("vaekit.studio")
RUNTIME, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm.gz"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src blob: data:; media-src blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
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
    """The page. standard: whether new codes are draws from N(0, I), which is all that the page can draw from."""
    own = {"path": bundle.manifest["name"], "state": "", "has_prior": standard, "priors": [], "condition": None}
    manifest = bundle.manifest | own
    html = (STUDIO / "static" / "index.html").read_text()
    style = (STUDIO / "static" / "studio.css").read_text()
    html = re.sub(r'<link rel="stylesheet"[^>]*>', lambda _: f"<style>\n{style}</style>", html)
    html = re.sub(r"<script.*?</script>\n", "", html, flags=re.S)
    html = html.replace(
        '<meta charset="utf-8">', f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    )
    html = html.replace("<title>vaekit studio</title>", f"<title>{escaped(manifest['name'])} · vaekit</title>")
    told = json.dumps(manifest, allow_nan=False).replace("<", "\\u003c")  # it cannot end the element that it stands in
    parts = [f'<script type="application/json" id="manifest">{told}</script>']
    blobs = {**bundle.blobs, **nets}
    parts += [f'<script type="text/plain" id="blob-{name}">{packed(blob)}</script>' for name, blob in blobs.items()]
    parts.append(f'<script type="text/plain" id="blob-wasm">{text_of(vendored(WASM))}</script>')
    modules = {
        f"studio/{place.name}": place.read_bytes() for place in (STUDIO / "static").iterdir() if place.name.endswith(".js")
    }
    modules["ort"] = vendored(RUNTIME)
    parts += [
        f'<script type="text/plain" data-module="{name}">{text_of(source)}</script>' for name, source in sorted(modules.items())
    ]
    parts.append(f"<script>{BEGIN}</script>")
    return html.replace("</body>", "\n".join(parts) + "\n</body>")


def write_page(run: Run, data: Dataset, path: Path, most: int = MOST_POINTS, layout: str = "pca") -> Path:
    """One HTML file with the studio of this run; layout: of its map, see `latent.project.arrange`. Raises as `networks`."""
    model = run.load_model("cpu")
    bundle = bundle_of(run, model, run.as_measured(data), most=min(most, MOST_THUMBS), layout=layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page_of(bundle, networks(model), standard=model.is_standard))
    return path


def packed(blob: bytes) -> str:
    """Compressed, as text."""
    return text_of(gzip.compress(blob, 9, mtime=0))


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
