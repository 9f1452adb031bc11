"""What the page needs to know of a run: a manifest and named arrays. The server hands them out; an exported page carries them.

Shapes: N pictures on the map, D latents, S pixels of a thumbnail's side.
"""

import io
import math
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from ..conditional import Condition
from ..data import Dataset
from ..data.splits import SPLITS
from ..draw.pixels import to_rgb
from ..findings import ATTRIBUTES
from ..latent import arrange, codes, decode, kl_per_latent
from ..latent.encode import Codes, likeliest
from ..metrics.evaluate import explained, seen_of
from ..model import Model
from ..run import Run

FORMAT = 4
SEEDED = threading.Lock()  # torch has one generator for all threads: whoever seeds it holds this until the draws are made
MOST_POINTS = 20_000
MOST_THUMBS = 20_000
ATLAS = 4096  # pixels: the side of a picture that every browser can draw
MOST_NUMBERS = 8_000_000  # of codes, all of which go along: a map without them could not be decoded
COLOURED = 64  # attributes that points can be coloured by
GOLDEN = 4  # codes whose pictures go along, so that another engine can be compared


@dataclass(frozen=True)
class Bundle:
    """The manifest (plain JSON), and arrays as little-endian bytes by name; `manifest["arrays"]` has their type and shape."""

    manifest: dict[str, Any]
    blobs: dict[str, bytes]
    rows: np.ndarray  # (N,), of the points in the data
    mu: np.ndarray  # (N, D), what the decoder is given of each: of categories the likeliest ones


def bundle_of(run: Run, model: Model, data: Dataset, *, most: int = MOST_POINTS, layout: str = "pca", seed: int = 0) -> Bundle:
    """Encode pictures of all splits, at most so many, and gather what is known of them; data as the run is measured on them.

    most: of a model of many latents fewer, so that all codes together have MOST_NUMBERS numbers. layout: of the map, see
    `latent.project.arrange`, and raises as that does.
    """
    run = Run(run.path.resolve())  # a bundle is kept, and read from elsewhere: it tells nothing of how the run was named
    rows = chosen(data, min(most, max(MOST_NUMBERS // model.latent, 1)), seed)
    found = codes(model, data.pixels, rows)
    with SEEDED:
        each = explained(model, seen_of(model, data, rows), len(rows), seed)
    view = arrange(found.mu, layout, seed)
    score = -each["elbo"] if "elbo" in each else each["distortion"]
    every = -(-len(rows) // MOST_THUMBS)  # rows are sorted: the first ones alone would be those of the first labels
    thumbs = rows[::every]
    side, atlas = thumbnails(data, thumbs)
    mu = likeliest(model, found.mu)
    arrays: dict[str, np.ndarray] = {
        "points": view.points.astype("<f4"),
        "split": splits_of(data)[rows],
        "score": score.astype("<f4"),
        "row": rows.astype("<i4"),
    }
    if data.labels is not None:
        arrays["label"] = data.labels[rows].astype("<i4")
    if data.attributes is not None:
        arrays["attribute"] = data.attributes[rows, :COLOURED].T.astype("<f4")
    if "rate" in each:
        arrays["rate"] = each["rate"].astype("<f4")
    told: Condition | None = getattr(model, "condition", None)
    low, span = mu.min(0), np.ptp(mu, axis=0)
    steps = (mu - low) / np.where(span > 0, span, 1) * 65535
    arrays["mu"] = steps.round().astype("<u2")
    golden = golden_codes(mu)
    arrays["golden_z"], arrays["golden"] = golden.astype("<f4"), as_bytes(decode(model, golden))
    manifest = {
        "format": FORMAT,
        "name": run.path.name,
        "data": data.name,
        "image": list(model.image),
        "latent": model.latent,
        "count": len(rows),
        "of": len(data),
        "axes": list(view.axes),
        "explained": None if math.isnan(view.explained) else round(view.explained, 4),
        "direct": model.latent == 2,
        "crop": run.description["data"]["open"].get("crop") or "center",
        "has_prior": model.has_prior,
        "condition": {"labels": list(told.labels), "attributes": list(told.attributes)} if told else None,
        "splits": list(SPLITS),
        "score": "-ELBO, nats" if "elbo" in each else "-log p(x|z), nats",
        "labels": list(data.label_names),
        "attributes": list(data.attribute_names[:COLOURED]),
        "code": {"low": numbers(low), "span": numbers(span), "mean": numbers(mu.mean(0)), "sd": numbers(mu.std(0))},
        "latents": latents(model, found),
        "worth": "nats" if model.has_prior and not found.certain else "of variance",
        "path": str(run.path),
        "thumbs": {"side": side, "columns": columns_for(len(thumbs)), "every": every},
        "arrays": {name: {"type": array.dtype.str, "shape": list(array.shape)} for name, array in arrays.items()},
    } | parts(run)
    blobs = {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}
    return Bundle(manifest, blobs | {"thumbs": atlas}, rows, mu)


def parts(run: Run) -> dict[str, Any]:
    """What a manifest says of vectors and densities: these may be computed anew while the weights stay as they are."""
    run = Run(run.path.resolve())  # the notes name it
    edits, notes = vectors(run)
    return {"priors": list(run.priors), "vectors": edits, "notes": notes}


def renewed(bundle: Bundle, run: Run) -> Bundle:
    """The same codes with the vectors and densities that there are now."""
    return replace(bundle, manifest=bundle.manifest | parts(run))


def chosen(data: Dataset, most: int, seed: int) -> np.ndarray:
    """Rows of all splits, sorted: all of validation and test as long as half of the points are left for training pictures."""
    if len(data) <= most:
        return np.arange(len(data))
    rng = np.random.default_rng(seed)
    held = np.concatenate([data.splits["validation"], data.splits["test"]])
    held = rng.permutation(held)[: most // 2]
    return np.sort(np.concatenate([held, rng.permutation(data.splits["train"])[: most - len(held)]]))


def splits_of(data: Dataset) -> np.ndarray:
    """The place of each picture's split in SPLITS, uint8."""
    found = np.zeros(len(data), np.uint8)
    for place, name in enumerate(SPLITS):
        found[data.splits[name]] = place
    return found


def golden_codes(mu: np.ndarray) -> np.ndarray:
    """A few codes far apart, (GOLDEN, D)."""
    return mu[np.linspace(0, len(mu) - 1, GOLDEN).astype(int)]


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    """Float pictures (N, C, H, W) in [0, 1] as uint8 (N, H, W, C), what a browser draws."""
    return np.ascontiguousarray((pictures.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1))


def latents(model: Model, found: Codes) -> list[dict[str, float]]:
    """Index and nats of every latent, the most informative first; by variance where there are no nats."""
    worth = kl_per_latent(model, found) if model.has_prior and not found.certain else found.mu.var(0)
    worth = np.nan_to_num(worth, posinf=3e38)  # a latent that is certain for some pictures
    return [{"index": int(i), "worth": round(float(worth[i]), 5)} for i in np.argsort(-worth, kind="stable")]


def vectors(run: Run) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The attribute vectors of a run with what is known of each, and what a person has to know where they cannot be used."""
    if not run.has_attributes:
        outdated = (run.path / ATTRIBUTES).exists()  # a training went on since
        told = f"The attribute vectors are of other weights than these. Compute them: vaekit attributes {run.path}"
        return {}, [told] if outdated else []
    stored, about = run.load_attributes()
    kept = ("method", "sigmas", "norm", "leak", "interval")
    found = {
        name: {"vector": numbers(vector.numpy()), **{key: about["attributes"][name].get(key) for key in kept}}
        for name, vector in stored.items()
    }
    return found, []


def facts(metric: dict[str, Any]) -> dict[str, Any]:
    return {key: metric[key] for key in ("value", "unit", "count", "split", "how", "interval") if key in metric}


def numbers(array: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in np.asarray(array, np.float64).tolist()]


def columns_for(count: int) -> int:
    return max(1, math.ceil(math.sqrt(count)))


def thumbnails(data: Dataset, rows: np.ndarray, most: int = 32, quality: int = 70) -> tuple[int, bytes]:
    """One WebP with a square thumbnail of every row, in rows of `columns_for`; and their side, `most` pixels at most."""
    columns = columns_for(len(rows))
    side = max(4, min(most, ATLAS // columns, max(data.image[1:])))
    _, height, width = data.image
    atlas = Image.new("RGB", (columns * side, -(-len(rows) // columns) * side), (128, 128, 128))
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    for start in range(0, len(rows), 1024):
        for place, picture in enumerate(to_rgb(data.take(rows[start : start + 1024]), "N C H W"), start):
            small = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
            left, top = place % columns * side, place // columns * side
            atlas.paste(small, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))
    file = io.BytesIO()
    atlas.save(file, "WEBP", quality=quality, method=4)
    return side, file.getvalue()


def as_png(picture: np.ndarray) -> bytes:
    """uint8 (C, H, W), with its transparency where it has one."""
    file = io.BytesIO()
    shown = np.ascontiguousarray(picture.transpose(1, 2, 0)) if len(picture) == 4 else to_rgb(picture, "C H W")
    Image.fromarray(shown).save(file, "PNG")
    return file.getvalue()
