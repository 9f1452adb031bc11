"""attributes, edit, morph."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from .. import draw
from ..editing import choose_attributes, compute_attributes
from ..errors import UsageError
from ..files import file_name
from ..latent import codes, combine, decode, edited, path
from ..latent.directions import orthogonal
from ..metrics.edits import rows_of_edits
from ..metrics.quality import STEPS
from ..run import Run
from .answer import Answer, table
from .look import png, read, write_one, write_sheet
from .places import writable
from .progress import counting, doing
from .reading import Count, Seed, Several, Whole, parse_weights, reopened


def attributes(
    run: Path,
    /,
    *,
    method: Literal["mean", "balanced", "ridge", "shrunk", "logistic", "lda", "best"] = "mean",
    names: Annotated[list[str] | None, Several] = None,
    steps: Count = STEPS,
    seed: Seed = 0,
) -> Answer:
    """Compute a vector for every attribute, on the training split, and what else it moves; saved with the run.

    Parameters
    ----------
    run
        The run folder.
    method
        mean: mean(mu | has it) - mean(mu | has it not). balanced: the same, of groups with the same mix of all other attributes.
        ridge: what one attribute adds where the others stay; shrunk: that, without the noise of few pictures. logistic, lda: the
        normals of what parts the groups. best: for each attribute the one whose edits are best on the validation split, among
        these and one that is learnt from three judges of attributes; they are scored on the test split by another one.
    names
        The attributes that `best` looks at; others keep their mean difference. Default: all.
    steps
        Of each of the four judges of attributes that `best` asks where the true edited pictures are not known.
    seed
        Of the halves for the interval, the choice of pictures and the judge.
    """
    if names and method != "best":
        raise UsageError("--names says which attributes to find the best method for. Add --method best.")
    if steps != STEPS and method != "best":
        raise UsageError("--steps are those of the judges that choose the best method. Add --method best.")
    found, data = reopened(run, kept=True)
    if method == "best":
        with counting("judges taught and edits compared", "steps") as show:
            about = choose_attributes(found, data, names or (), seed=seed, steps=steps, progress=show)
    else:
        with doing("computing attribute vectors"):
            about = compute_attributes(found, data, seed, method)
    if not about["attributes"]:
        raise UsageError(f"No attribute of {data.name} splits its training images into groups of 4 or more. Give another table.")
    apart = "held-out distance of the means, 95 %"
    rows = [("attribute", "method", "with", "without", "alpha 1 in sigmas", apart, "moves most beside it")]
    for name, a in sorted(about["attributes"].items(), key=lambda item: -item[1]["norm"]):
        low, high = a["interval"]
        beside = max((other for other in a["leak"] if other != name), key=lambda other: abs(a["leak"][other]), default=None)
        leak = "" if beside is None else f"{beside} {a['leak'][beside]:+.2f} sigma"
        counts = f"{a['count_with']:,}", f"{a['count_without']:,}"
        held = f"{low:.3f} to {high:.3f}{', perhaps an accident' if low <= 0 <= high else ''}"
        rows.append((name, a["method"], *counts, f"{a['sigmas']:.2f}", held, leak))
    edits = rows_of_edits(about["attributes"])
    return Answer(about, table(rows) + (f"\n\n{table(edits[0])}\nto {edits[1]}" if edits else ""))


def edit(
    run: Path,
    image: Path,
    /,
    *,
    add: Annotated[list[str], Parameter(negative=())],
    keep: Annotated[list[str] | None, Several] = None,
    sigmas: bool = False,
    details: bool = False,
    vectors: Path | None = None,
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
        An attribute and how much of it: Smiling=2, Eyeglasses=-1; Smiling alone is Smiling=1, the distance from those without to
        those with it.
    keep
        Attributes that the edit does not move along: it is made orthogonal to their vectors.
    sigmas
        Count alpha in standard deviations of the codes along each vector.
    details
        Add the change to the picture itself, x + dec(z + alpha * vector) - dec(z): what the model cannot draw stays as it was.
    vectors
        Another file of vectors for the same weights. Default: the run's attributes.safetensors.
    out
        The png. Default: RUN/figures/edited-IMAGE-WHAT-MARK.png, WHAT being all that changes it and MARK six letters that tell
        the picture from others of the same name; a strip of strengths beside it.
    strip
        Draw the strip, image by alpha.
    """
    png(out)
    found = Run.open(run)
    model = found.load_model()
    stored, about = found.load_attributes(vectors)
    units = {name: about["attributes"][name]["sigmas"] if sigmas else 1.0 for name in stored}
    directions = {name: vector.numpy() / units[name] for name, vector in stored.items()}
    weights = parse_weights(add, directions)
    if both := sorted(set(keep or ()) & weights.keys()):
        raise UsageError(f"{', '.join(both)} is to be added and to be kept, which leaves nothing. Leave it out of --keep.")
    what = [f"{name}={weight:g}" for name, weight in weights.items()] + ["sigmas"] * sigmas + ["details"] * details
    what += [f"keep {name}" for name in keep or ()] + ([vectors.stem] if vectors else [])
    target = writable(out or found.figures / f"{edit_name(image, vectors, what)}.png")
    direction = combine(directions, weights)
    if keep:
        direction = orthogonal(direction, np.stack([combine(directions, {name: 1.0}) for name in keep]))
    original = read(found, [image])
    files = [write_one(edited(model, original, direction, details=details)[0], target)]
    if strip:
        if len(weights) == 1:  # alpha is the strength of the attribute itself
            ((told, most),) = weights.items()
        else:
            told, most = " ".join(f"{weight:+g} {name}" for name, weight in weights.items()).removeprefix("+"), 1.0
        shares = np.linspace(-1, 1, 9, dtype=np.float32) * np.sign(most or 1)  # so that alpha rises
        pictures = edited(model, np.repeat(original, len(shares), 0), shares[:, None] * direction, details=details)[None]
        title = f"x + the change of z + alpha ({told})" if details else f"z + alpha ({told})"
        about = {"subtitle": f"orthogonal to {', '.join(keep)}" if keep else "", "unit": " σ" if sigmas else ""}
        about |= {"note": "original"} if details else {}
        figure = draw.edit_strip(pictures, shares * most, [image.name], original, title=title, **about)
        files += write_sheet(figure, "edited-strip", target.with_name(f"{target.stem}-strip.png"))
    return Answer({"files": files, "add": weights}, "\n".join(files))


def edit_name(image: Path, vectors: Path | None, what: Sequence[str]) -> str:
    """What an edited picture is called: the same for the same file and edit, another for a file of that name elsewhere."""
    places = [str(each.absolute()) for each in (image, vectors) if each]
    mark = sha256(repr(places).encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{file_name('-'.join(['edited', image.stem, *what]))}-{mark}"


def morph(
    run: Path,
    a: Path,
    b: Path,
    /,
    *,
    out: Path | None = None,
    steps: Whole = 9,
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
        Pictures, both ends included. An animation goes there and back, in 2 * steps - 2 frames.
    kind
        lerp: the straight line. slerp: along the sphere.
    fps
        Pictures a second.
    """
    found = Run.open(run)
    target = writable(out or found.figures / "morph.png")
    kind_of_file = target.suffix.lower()
    if kind_of_file not in (".png", ".gif", ".webp"):
        raise UsageError(f"--out {target} ends in {target.suffix or 'nothing'}; give a name that ends in .png, .gif or .webp.")
    model = found.load_model()
    ends = codes(model, read(found, [a, b])).mu
    pictures = decode(model, path(ends[0], ends[1], steps, kind))
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind_of_file == ".png":
        write_sheet(draw.morph_strip(pictures, [a.name, b.name]), "morph", target)
    else:
        draw.save_animation(target, draw.animate(pictures, ping_pong=True), fps)
    return Answer({"files": [str(target)], "steps": steps, "kind": kind}, str(target))
