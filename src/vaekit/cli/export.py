"""export."""

from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..export import write_folder, write_networks, write_page
from ..run import Run
from ..studio.bundle import MOST_POINTS
from .answer import Answer
from .places import writable
from .progress import decoding, doing
from .reading import OptionalCount


def export(
    run: Path,
    /,
    *,
    html: Path | None = None,
    dir: Path | None = None,
    onnx: Path | None = None,
    points: OptionalCount = None,
    layout: Literal["pca", "tsne", "umap"] | None = None,
    webgpu: bool = False,
) -> Answer:
    """A run for others: a page that opens anywhere, as one file or for a web server, or ONNX files that run without torch.

    Parameters
    ----------
    run
        The run folder.
    html
        Write the studio of this run as one file: map, pictures, model and all.
    dir
        Write the same page as a folder of files, for a web server to hand out.
    onnx
        Write encoder.onnx, decoder.onnx and a README into this folder; they were compared with torch.
    points
        Pictures on the map of the page, at most. Default: 20,000.
    layout
        Of that map: principal components (the default), t-SNE or UMAP.
    webgpu
        Let the one file use a graphics card too, where the browser has WebGPU and draws the same, sooner: 5 MB more. A folder
        always can.
    """
    if html is None and dir is None and onnx is None:
        raise UsageError("Nothing was asked for. Give --html FILE, --dir FOLDER or --onnx FOLDER, or several.")
    one_file = partial(write_page, card=webgpu)
    pages = [(place, write) for place, write in ((html, one_file), (dir, write_folder)) if place]
    if webgpu and not html:
        raise UsageError("--webgpu is about the page as one file; a folder has it. Add --html FILE.")
    if (points or layout) and not pages:
        raise UsageError("--points and --layout are about the map of a page. Add --html FILE or --dir FOLDER.")
    if html and html.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {html}: no browser opens a file of that name as a page. Give one that ends in .html")
    found, written = Run.open(run), []
    for place, option in ((html, "--html"), (dir, "--dir"), (onnx, "--onnx")):
        if place:
            writable(place, option, folder=option != "--html")
    if onnx:
        with doing("writing ONNX files"):
            written += write_networks(found, onnx)
    if pages:
        with decoding() as show:
            data = found.open_data(show)
        with doing("writing the page"):
            written += [write(found, data, place, points or MOST_POINTS, layout or "pca") for place, write in pages]
    return Answer({"files": [str(path) for path in written]}, "\n".join(map(str, written)))
