"""export."""

from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..export import write_networks, write_page
from ..run import Run
from ..studio.bundle import MOST_POINTS
from .answer import Answer
from .progress import decoding, doing
from .reading import Count


def export(
    run: Path,
    /,
    *,
    html: Path | None = None,
    onnx: Path | None = None,
    points: Count = MOST_POINTS,
    layout: Literal["pca", "tsne", "umap"] = "pca",
) -> Answer:
    """A run for others: one page that opens anywhere, offline, or ONNX files that run without torch.

    Parameters
    ----------
    run
        The run folder.
    html
        Write the studio of this run as one file: map, pictures, model and all.
    onnx
        Write encoder.onnx, decoder.onnx and a README into this folder; they were compared with torch.
    points
        Pictures on the map of the page, at most.
    layout
        Of that map: principal components, t-SNE or UMAP.
    """
    if html is None and onnx is None:
        raise UsageError("Nothing was asked for. Give --html FILE, --onnx FOLDER, or both.")
    found, written = Run.open(run), []
    if onnx:
        with doing("writing ONNX files"):
            written += write_networks(found, onnx)
    if html:
        with decoding() as show:
            data = found.open_data(show)
        with doing("writing the page"):
            written.append(write_page(found, data, html, points, layout))
    return Answer({"files": [str(path) for path in written]}, "\n".join(map(str, written)))
