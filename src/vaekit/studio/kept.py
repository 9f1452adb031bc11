"""Bundles of finished runs that were made before, so that a studio that is opened again is there at once."""

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from .. import __version__
from ..data import Dataset
from ..data.cache import kept_arrays
from ..files import cache_folder, write_atomic
from ..run import Run
from .bundle import FORMAT, Bundle, renewed


class Stamp(NamedTuple):
    """What tells one state of a run from another, without reading its files."""

    weights: str | None  # None before there are any
    parts: str  # vectors and densities, which are computed while the weights stay as they are


def kept_bundle(run: Run, data: Dataset, make: Callable[[], Bundle], **how: object) -> Bundle:
    """What `make` gives, from the cache where it was made before with the same weights, pictures and `how`.

    Of a run that still trains nothing is kept: it is another one at the next validation.
    """
    stamp = stamp_of(run).weights
    if stamp is None or run.description.get("status") != "finished":
        return make()
    folder = cache_folder() / "studio" / key_of(str(run.path.resolve()))
    path = folder / f"{key_of([FORMAT, __version__, stamp, data.digest, how])}.npz"
    stored = kept_arrays(path, "manifest", "rows", "mu")
    if stored is not None:
        return renewed(unpacked(stored), run)
    made = make()
    with suppress(OSError):  # a cache that cannot be written costs a minute at the next start, no more
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npz"):  # one for each run: others are of other weights, most likely
            old.unlink(missing_ok=True)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **packed(made)))
    return made


def key_of(parts: object) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def stamp_of(run: Run) -> Stamp:
    """The state of its weights, and of its vectors and densities."""

    def of(name: str) -> str | None:
        file = run.path / name
        return f"{file.stat().st_size:x}.{file.stat().st_mtime_ns:x}" if file.exists() else None

    parts = (of(name) or "0" for name in ("attributes.safetensors", "priors/priors.json"))
    return Stamp(of("weights.safetensors"), "-".join(parts))


def packed(bundle: Bundle) -> dict[str, np.ndarray]:
    """A bundle as arrays."""
    blobs = {f"blob {name}": np.frombuffer(blob, np.uint8) for name, blob in bundle.blobs.items()}
    manifest = np.frombuffer(json.dumps(bundle.manifest).encode(), np.uint8)
    return {"manifest": manifest, "rows": bundle.rows, "mu": bundle.mu, **blobs}


def unpacked(arrays: dict[str, np.ndarray]) -> Bundle:
    """As `packed` made them."""
    blobs = {name.removeprefix("blob "): array.tobytes() for name, array in arrays.items() if name.startswith("blob ")}
    return Bundle(json.loads(arrays["manifest"].tobytes()), blobs, arrays["rows"], arrays["mu"])
