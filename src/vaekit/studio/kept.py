"""Bundles of finished runs that were made before, so that a studio that is opened again is there at once."""

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import numpy as np

from .. import __version__
from ..data import Dataset
from ..data.cache import kept_arrays
from ..files import cache_folder, write_atomic
from ..run import Run
from .bundle import FORMAT, Bundle


def kept_bundle(run: Run, data: Dataset, make: Callable[[], Bundle], **how: object) -> Bundle:
    """What `make` gives, from the cache where it was made before with the same weights, vectors, densities, pictures and `how`.

    Of a run that still trains nothing is kept: it is another one at the next validation.
    """
    stamp = stamp_of(run)
    if stamp is None or run.description.get("status") != "finished":
        return make()
    folder = cache_folder() / "studio" / key_of(str(run.path.resolve()))
    path = folder / f"{key_of([FORMAT, __version__, stamp, data.digest, how])}.npz"
    stored = kept_arrays(path, "manifest", "rows", "mu")
    if stored is not None:
        return unpacked(stored)
    made = make()
    with suppress(OSError):  # a cache that cannot be written costs a minute at the next start, no more
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npz"):  # one for each run: others are of other weights, most likely
            old.unlink(missing_ok=True)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **packed(made)))
    return made


def key_of(parts: object) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def stamp_of(run: Run) -> str | None:
    """What tells one state of the weights, vectors and densities from another without reading them; None without weights."""

    def of(name: str) -> str:
        file = run.path / name
        return f"{file.stat().st_size:x}.{file.stat().st_mtime_ns:x}" if file.exists() else "0"

    found = [of(name) for name in ("weights.safetensors", "attributes.safetensors", "priors/priors.json")]
    return None if found[0] == "0" else "-".join(found)


def packed(bundle: Bundle) -> dict[str, np.ndarray]:
    """A bundle as arrays."""
    blobs = {f"blob {name}": np.frombuffer(blob, np.uint8) for name, blob in bundle.blobs.items()}
    mu = np.empty((0, 0), np.float32) if bundle.mu is None else bundle.mu
    return {"manifest": np.frombuffer(json.dumps(bundle.manifest).encode(), np.uint8), "rows": bundle.rows, "mu": mu, **blobs}


def unpacked(arrays: dict[str, np.ndarray]) -> Bundle:
    """As `packed` made them."""
    blobs = {name.removeprefix("blob "): array.tobytes() for name, array in arrays.items() if name.startswith("blob ")}
    return Bundle(json.loads(arrays["manifest"].tobytes()), blobs, arrays["rows"], arrays["mu"] if arrays["mu"].size else None)
