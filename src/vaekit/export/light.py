"""A page as light as its pictures allow: weights and codes so coarse that no picture shows it, thumbnails as there is room.

A page has to be mailed, and most of what it weighs are numbers of 32 bits of which a picture of 256 shades shows 10. Each kind is
rounded to the fewest bits with which pictures stay as they are, measured on this model: there is no number that suits them all.

Shapes: N points, n pictures that are tried, D latents.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..data import Dataset
from ..latent import decode, reconstruct
from ..latent.encode import likeliest
from ..model import Model
from ..studio.bundle import Bundle, thumbnails
from .networks import computed

WEIGHTS, CODES = 0.75, 1.25  # of 255, by which a pixel may differ for the sake of either
BITS = range(8, 17)
SMALL = 1024  # numbers: an array of fewer is not worth rounding
TRIED = 128  # codes of pictures, and as many draws around them
COARSER = ((32, 50), (28, 50), (24, 50), (20, 50), (16, 50))  # sides of a thumbnail, and qualities


def light_networks(model: Model, files: dict[str, bytes], mu: np.ndarray, pictures: np.ndarray) -> dict[str, bytes]:
    """Encoder and decoder as ONNX with weights of few bits; as they are where no number of bits is enough.

    mu (N, D): codes of pictures; pictures (n, C, H, W) uint8: some of them.
    """
    tried, x = around(mu), pictures.astype(np.float32) / 255
    drawn, rebuilt = decode(model, tried), reconstruct(model, pictures)

    def gap_of(name: str) -> Callable[[bytes], float]:
        if name == "decoder":
            return lambda file: levels(computed(file, tried), drawn)
        return lambda file: levels(decode(model, likeliest(model, computed(file, x))), rebuilt)

    def lighter(name: str) -> bytes:
        gap = gap_of(name)
        made = (rounded(files[name], bits) for bits in BITS)
        return next((file for file in made if gap(file) <= WEIGHTS), files[name])

    return {name: lighter(name) for name in files}


def levels(pictures: np.ndarray, others: np.ndarray) -> float:
    """By how many of 255 two batches of pictures in [0, 1] differ, at most; infinite where a pixel is no number."""
    gap = 255 * np.abs(pictures.astype(np.float64) - others).max()
    return float(gap) if np.isfinite(gap) else np.inf


def around(mu: np.ndarray) -> np.ndarray:
    """Codes of pictures, and draws around all of them that reach further than they do, (n, D)."""
    own = mu[np.linspace(0, len(mu) - 1, min(TRIED, len(mu))).astype(int)]
    drawn = np.random.default_rng(0).standard_normal((TRIED, mu.shape[1]))
    return np.concatenate([own, mu.mean(0) + 1.5 * mu.std(0) * drawn]).astype(np.float32)


def rounded(file: bytes, bits: int) -> bytes:
    """An ONNX file that computes its large weights from whole numbers of so many bits, and a scale for each row.

    Their high and low bytes lie apart: side by side they do not compress. ONNX Runtime computes the weights once, when it opens
    the file.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(file)
    graph, half = model.graph, 2 ** (bits - 1)
    kept, made, nodes = [], {}, []
    for tensor in graph.initializer:
        name, size = tensor.name, int(np.prod(tensor.dims))
        if tensor.data_type != TensorProto.FLOAT or size < SMALL or len(tensor.dims) < 2:
            kept.append(tensor)
            continue
        weights = numpy_helper.to_array(tensor)
        most = np.abs(weights).max(tuple(range(1, weights.ndim)), keepdims=True)
        scale = (np.where(most > 0, most, 1) / (half - 1)).astype(np.float32)
        whole = (np.rint(weights / scale) + half).astype(np.uint16)
        made |= {f"{name}/high": (whole >> 8).astype(np.uint8), f"{name}/low": whole.astype(np.uint8), f"{name}/scale": scale}
        for part in ("high", "low"):
            nodes.append(helper.make_node("Cast", [f"{name}/{part}"], [f"{name}/{part}/float"], to=TensorProto.FLOAT))
        nodes += [
            helper.make_node("Mul", [f"{name}/high/float", "rounded/256"], [f"{name}/high/all"]),
            helper.make_node("Add", [f"{name}/high/all", f"{name}/low/float"], [f"{name}/whole"]),
            helper.make_node("Sub", [f"{name}/whole", "rounded/half"], [f"{name}/signed"]),
            helper.make_node("Mul", [f"{name}/signed", f"{name}/scale"], [name]),
        ]
    if not nodes:
        return file
    made |= {"rounded/256": np.float32(256), "rounded/half": np.float32(half)}
    kept += [numpy_helper.from_array(np.asarray(array), name) for name, array in made.items()]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()


def light_codes(model: Model, bundle: Bundle) -> Bundle:
    """The same bundle with codes of few bits, high and low bytes apart."""
    low, span = bundle.mu.min(0), np.ptp(bundle.mu, axis=0)
    span = np.where(span > 0, span, 1)
    places = np.linspace(0, len(bundle.mu) - 1, min(2 * TRIED, len(bundle.mu))).astype(int)
    drawn = decode(model, bundle.mu[places])
    whole, most = np.zeros(bundle.mu.shape, np.uint16), 1
    for bits in BITS:
        most = 2**bits - 1
        whole = np.rint((bundle.mu - low) / span * most).astype(np.uint16)
        if levels(decode(model, (low + whole[places] / most * span).astype(np.float32)), drawn) <= CODES:
            break
    blob = (whole >> 8).astype(np.uint8).tobytes() + whole.astype(np.uint8).tobytes()
    code = {**bundle.manifest["code"], "low": low.tolist(), "span": (span * 65535 / most).tolist()}
    arrays = bundle.manifest["arrays"]
    manifest = {**bundle.manifest, "code": code, "arrays": {**arrays, "mu": {**arrays["mu"], "planes": True}}}
    return replace(bundle, manifest=manifest, blobs={**bundle.blobs, "mu": blob})


def light_thumbs(bundle: Bundle, data: Dataset, room: int) -> Bundle:
    """The same bundle with thumbnails that take so many bytes at most: smaller and coarser where there are many, but not so small
    that nobody sees what they show; data as the run is measured on them."""
    about = bundle.manifest["thumbs"]
    for most, quality in COARSER:
        if len(bundle.blobs["thumbs"]) <= room:
            break
        side, atlas = thumbnails(data, bundle.rows[:: about["every"]], most, quality)
        manifest = {**bundle.manifest, "thumbs": {**about, "side": side}}
        bundle = replace(bundle, manifest=manifest, blobs={**bundle.blobs, "thumbs": atlas})
    return bundle
