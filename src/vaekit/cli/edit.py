"""attributes, edit, morph."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from .. import draw
from ..errors import UsageError
from ..files import file_name
from ..finish import compute_attributes
from ..latent import codes, combine, decode, path
from ..run import Run
from .answer import Answer, table
from .look import png, read, reopened, write_one, write_sheet
from .progress import doing
from .reading import Seed, parse_weights


def attributes(run: Path, /, *, seed: Seed = 0) -> Answer:
    """Compute mean(mu | has it) - mean(mu | has it not) for every attribute, on the training split; saved with the run.

    Parameters
    ----------
    run
        The run folder.
    seed
        Of the bootstrap.
    """
    found, data = reopened(run)
    with doing("computing attribute vectors"):
        about = compute_attributes(found, data, seed)
    if not about["attributes"]:
        raise UsageError(f"No attribute of {data.name} splits its training images into groups of 4 or more. Give another table.")
    rows = [("attribute", "with", "without", "norm", "held-out distance, 95 %")]
    for name, a in sorted(about["attributes"].items(), key=lambda item: -item[1]["norm"]):
        low, high = a["interval"]
        rows.append((name, f"{a['count_with']:,}", f"{a['count_without']:,}", f"{a['norm']:.3f}", f"{low:.3f} to {high:.3f}"))
    return Answer(about, table(rows))


def edit(
    run: Path,
    image: Path,
    /,
    *,
    add: Annotated[list[str], Parameter(negative=())],
    out: Path | None = None,
    strip: bool = True,
) -> Answer:
    """Change attributes of a picture: z + alpha * vector, decoded.

    Parameters
    ----------
    run
        The run folder.
    image
        A picture file.
    add
        An attribute and how much of it: Smiling=2, Eyeglasses=-1. 1 is the distance from those without to those with it.
    out
        The png. Default: RUN/figures/edited-IMAGE-WHAT.png, and a strip of strengths beside it.
    strip
        Draw the strip, image by alpha.
    """
    found = Run.open(run)
    model = found.load_model()
    vectors = {name: vector.numpy() for name, vector in found.load_attributes()[0].items()}
    weights = parse_weights(add, vectors)
    what = "-".join(f"{name}={weight:g}" for name, weight in weights.items())
    target = png(out) or found.figures / f"{file_name(f'edited-{image.stem}-{what}')}.png"
    direction = combine(vectors, weights)
    original = read(found, [image])
    mu = codes(model, original).mu
    edited = decode(model, mu + direction)
    files = [write_one(edited[0], target)]
    if strip:
        if len(weights) == 1:  # alpha is the strength of the attribute itself
            ((told, most),) = weights.items()
        else:
            told, most = " ".join(f"{weight:+g} {name}" for name, weight in weights.items()).removeprefix("+"), 1.0
        shares = np.linspace(-1, 1, 9, dtype=np.float32) * np.sign(most or 1)  # so that alpha rises
        pictures = decode(model, mu + shares[:, None] * direction)[None]
        figure = draw.edit_strip(pictures, shares * most, [image.name], original, title=f"z + alpha ({told})")
        files += write_sheet(found, figure, "edited-strip", target.with_name(f"{target.stem}-strip.png"))
    return Answer({"files": files, "add": weights}, "\n".join(files))


def morph(
    run: Path,
    a: Path,
    b: Path,
    /,
    *,
    out: Path | None = None,
    steps: int = 9,
    kind: Literal["lerp", "slerp"] = "lerp",
    fps: float = 12,
) -> Answer:
    """From one picture to another through the latent space; both ends are reached.

    Parameters
    ----------
    run
        The run folder.
    a
        The first picture.
    b
        The last one.
    out
        .png for a strip, .gif or .webp for an animation. Default: RUN/figures/morph.png.
    steps
        Pictures, both ends included.
    kind
        lerp: the straight line. slerp: along the sphere.
    fps
        Pictures a second.
    """
    found = Run.open(run)
    target = out or found.figures / "morph.png"
    kind_of_file = target.suffix.lower()
    if kind_of_file not in (".png", ".gif", ".webp"):
        raise UsageError(f"--out {target} ends in {target.suffix or 'nothing'}; give a name that ends in .png, .gif or .webp.")
    model = found.load_model()
    ends = codes(model, read(found, [a, b])).mu
    pictures = decode(model, path(ends[0], ends[1], steps, kind))
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind_of_file == ".png":
        write_sheet(found, draw.morph_strip(pictures, [a.name, b.name]), "morph", target)
    else:
        draw.save_animation(target, draw.animate(pictures, ping_pong=True), fps)
    return Answer({"files": [str(target)], "steps": steps, "kind": kind}, str(target))
