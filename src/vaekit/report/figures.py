"""Every picture that the subject is known for, of one run: (name, figure, caption, words for who cannot see it)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .. import draw
from ..conditional import Condition
from ..data import Dataset
from ..latent import codes, combine, decode, plane, project, reconstruct, sample, traverse
from ..latent.attributes import presence
from ..latent.second_stage import FITTED, draw_codes
from ..metrics.evaluate import ACTIVE, NEIGHBOURS, label_accuracy
from ..model import Model
from .sight import MOST_POINTS, Picture, Sight

SHOWN = 24  # pictures in a row of reconstructions
SAMPLES = 64
HOLE = 0.02  # of the prior's draws in a hole, up to which there is none: without one it would be 0.01
SIGMAS = np.linspace(-3, 3, 9, dtype=np.float32)
SHARES = np.array([0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99])  # of codes: where a prior has no sigmas
ALPHAS = np.array([-2, -1, 0, 1, 2, 3], np.float32)
FAVOURITES = ("Smiling", "Eyeglasses", "Blond_Hair", "Male", "Wearing_Hat", "Beard", "Mouth_Open", "Mouth_Slightly_Open")
MOST_STRIPS = 6
MOST_TOLD, COLUMNS = 12, 10  # things told and draws of z, in one figure


def reconstructions(sight: Sight) -> Iterator[Picture]:
    images = sight.data.take(spread(sight.rows, SHOWN))
    rebuilt = reconstruct(sight.model, images)
    errors = np.sqrt(np.square(images / 255.0 - rebuilt).mean((1, 2, 3)))
    yield Picture(
        "reconstructions",
        draw.reconstructions(images, rebuilt, errors, subtitle="z = mu, nothing drawn"),
        f"{len(images)} of {sight.held_out}, evenly spread over them. RMSE in pixel values from 0 to 1.",
        "Pairs of held-out pictures and their reconstructions.",
    )


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` rows at even distances, so that pictures sorted by folder show every folder; all where there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def samples(sight: Sight) -> Iterator[Picture]:
    if sight.has_prior:
        yield Picture(
            "samples",
            draw.samples(
                sample(sight.model, SAMPLES, sight.seed), f"z drawn from {sight.prior}", title=f"New pictures from {sight.prior}"
            ),
            f"{SAMPLES} pictures that nobody took: z drawn from {sight.prior}, seed {sight.seed}, not chosen.",
            "A grid of new pictures decoded from draws of the prior.",
        )
    if sight.run.priors:
        yield second_stage(sight)
    if not sight.anywhere:
        return  # a Gaussian says nothing of them
    z = sight.gaussian.sample(SAMPLES, sight.seed)
    yield Picture(
        "samples-fitted",
        draw.samples(
            decode(sight.model, z),
            "z drawn from one Gaussian fitted to the training codes",
            title="New pictures from the fitted Gaussian",
        ),
        f"{SAMPLES} pictures, not chosen: z drawn from a full-covariance Gaussian fitted to the codes of "
        f"{len(sight.train_codes.mu):,} training images, seed {sight.seed}. "
        + ("This is not the prior: it" if sight.has_prior else "A plain autoencoder has no prior; this")
        + " shows what the decoder can do where the codes really are.",
        "A grid of new pictures decoded from draws of a Gaussian fitted to the codes.",
    )


def second_stage(sight: Sight) -> Picture:
    name, density = sight.run.load_prior()
    hole, words = sight.run.metrics.get("prior_hole"), ""
    if hole:
        share = hole["value"]
        left = hole["reference"].get(FITTED, share)  # runs of before it was measured have none
        with_hole = (
            "It mends a hole" if left <= HOLE else "It narrows a hole" if left < share else "The model's own prior has a hole"
        )
        found = with_hole if share > HOLE else "The model's own prior has no hole"
        words = f" {found}: {share:.1%} of the prior's own draws are {hole['how']}"
        words += (f", {left:.1%} of this density's" if left != share else "") + "; without a hole it would be 1 %."
    return Picture(
        "samples-second-stage",
        draw.samples(
            decode(sight.model, draw_codes(density, sight.model, SAMPLES, sight.seed)),
            f"z drawn from the density {name!r}, fitted to the training codes",
            title="New pictures from the second stage",
        ),
        f"{SAMPLES} pictures, not chosen: z drawn from the best density of `vaekit fit-prior`, seed {sight.seed}.{words}",
        "A grid of new pictures decoded from draws of a density fitted to the codes.",
    )


def told(sight: Sight) -> Iterator[Picture]:
    """Every label, or every attribute low and high, over the same draws of z."""
    condition: Condition | None = getattr(sight.model, "condition", None)
    if condition is None or not sight.has_prior:
        return
    words = [{"label": name} for name in condition.labels[:MOST_TOLD]]
    some = sorted(condition.attributes, key=favourite)[: MOST_TOLD // 2]
    words += [{name: value} for name in some for value in ends(sight.data, name)]
    c = np.stack([condition.of(each).numpy(force=True) for each in words])
    rows = [sample(sight.model, COLUMNS, sight.seed, c=np.repeat(each[None], COLUMNS, 0)) for each in c]
    names = [next(iter(each.values())) if "label" in each else " ".join(f"{k} = {v}" for k, v in each.items()) for each in words]
    yield Picture(
        "told",
        draw.told_strip(np.stack(rows), names, subtitle=f"{COLUMNS} draws of {sight.prior}, the rest of what is told unknown"),
        f"New pictures, seed {sight.seed}, not chosen: in each column the same draw, in each row told another thing.",
        "A grid of new pictures: what they are told by row, their draw by column.",
    )


def ends(data: Dataset, name: str) -> tuple[str, ...]:
    """A low and a high value of an attribute: 0 and 1, or of a graded one those that a tenth of the images is below or above."""
    values = data.attributes[:, data.attribute_names.index(name)]  # pyright: ignore[reportOptionalSubscript]
    values = values[~np.isnan(values)]
    if not is_graded(values):
        return ("0", "1")
    return tuple(dict.fromkeys(f"{value:.3g}" for value in np.quantile(values, (0.1, 0.9))))


def is_graded(values: np.ndarray) -> bool:
    return not np.isin(values[~np.isnan(values)], (0, 1)).all()


def latent_space(sight: Sight) -> Iterator[Picture]:
    plane_, kind = sight.projection, "mu" if sight.model.latent <= 2 else "mu, projected on its first two principal components"
    accuracy = None
    if sight.labels is not None:
        accuracy = label_accuracy(sight.data, sight.learnt, sight.train_codes.mu, sight.points, sight.codes.mu)
    for name, colour in colours(sight):
        scored = accuracy is not None and "labels" in colour
        shown = draw.latent_scatter(
            plane_.points,
            axis_names=plane_.axes,
            sigma_circles=sight.model.is_standard and sight.model.latent <= 2,
            knn_accuracy=accuracy if scored else None,
            k=NEIGHBOURS,
            **colour,
        )
        yield Picture(
            f"latent-{name}",
            shown,
            f"{len(sight.points):,} {sight.split} images as {kind}, coloured by {name}."
            + (f" {NEIGHBOURS} nearest neighbours on mu (all {sight.model.latent} latents) name the label." if scored else ""),
            f"Scatter of codes coloured by {name}.",
        )
    if sight.model.is_standard and sight.model.latent <= 2:
        name, colour = next(iter(colours(sight)))
        yield Picture(
            "unit-square",
            draw.unit_square(plane_.points, axis_names=plane_.axes, **colour),
            "The same codes through the distribution function of N(0, 1): an even square is the prior itself.",
            f"Codes in the unit square, coloured by {name}.",
        )


def colours(sight: Sight) -> Iterator[tuple[str, dict]]:
    """What to colour codes by: labels, else the attributes that move the plane most, else nothing."""
    if sight.labels is not None:
        yield "label", {"labels": sight.labels, "label_names": sight.data.label_names}
    attributes = sight.data.attributes
    if attributes is not None and len(sight.data.attribute_names):
        here = attributes[sight.points]
        strengths = [separation(sight.projection.points, presence(here[:, i])) for i in range(here.shape[1])]
        for i in np.argsort(strengths)[::-1][: 3 if sight.labels is None else 2]:
            name = sight.data.attribute_names[i]
            yield name, {"values": here[:, i], "value_name": name}
    if sight.labels is None and attributes is None:
        yield "nothing", {}


def separation(points: np.ndarray, has: np.ndarray) -> float:
    """How much the plane tells of an attribute: its correlations with both axes, as one length."""
    if not ((has == 1).any() and (has == 0).any()):
        return -1.0
    gap = points[has == 1].mean(0) - points[has == 0].mean(0)
    share = (has == 1).sum() / (has >= 0).sum()
    return float(np.linalg.norm(gap / (points.std(0) + 1e-12)) * np.sqrt(share * (1 - share)))


def decoded_plane(sight: Sight) -> Iterator[Picture]:
    if sight.model.latent != 2 or not sight.model.is_standard:
        return
    steps = 20 if min(sight.model.image[1:]) >= 16 else 12  # small tiles run into each other
    images, values = plane(sight.model, steps, np.zeros(2, np.float32))
    yield Picture(
        "manifold",
        draw.manifold(images, values, values[::-1]),
        f"The decoder's picture at {steps} x {steps} places, spaced so that each stands for an equal share of the prior.",
        "The plane of two latents, decoded on a grid.",
    )


def latents(sight: Sight) -> Iterator[Picture]:
    if not sight.has_prior or sight.codes.certain or not sight.anywhere:
        return
    if sight.model.is_standard:
        yield Picture(
            "latent-histograms",
            draw.latent_histograms(sight.draws, sight.kl),
            f"A draw from q(z|x) for {len(sight.points):,} {sight.split} images, latent by latent, beside the standard normal; "
            f"{int((sight.kl > ACTIVE).sum())} of {sight.model.latent} latents carry more than {ACTIVE} nats.",
            "Histograms of the most informative latents against the standard normal.",
        )
    rows = np.argsort(-sight.kl)[:10]
    mu = sight.train_codes.mu
    where, heads, values = "from -3 to 3 prior sigmas", SIGMAS, SIGMAS
    if not sight.model.is_standard:  # where codes lie is up to a learned prior
        where, heads = f"from where {SHARES[0]:.0%} of the training codes lie below to where {SHARES[-1]:.0%} do", SHARES
        values = np.quantile(mu[:, rows], SHARES, axis=0).T
    pictures = traverse(sight.model, mu.mean(0), rows, values)
    yield Picture(
        "traversals",
        draw.traversals(pictures, rows, sight.kl[rows], heads, shares=heads is SHARES),
        f"One latent at a time {where}, the others at the mean code; most informative first.",
        "Rows of pictures in which one latent changes.",
    )


def curves(sight: Sight) -> Iterator[Picture]:
    yield Picture(
        "curves",
        draw.training_curves(sight.run.records, path=sight.has_prior),
        "Distortion, rate and ELBO are measured without weights, whatever was optimised; validation with the averaged weights.",
        "Training and validation curves.",
    )


def edits(sight: Sight) -> Iterator[Picture]:
    """Strips for the attributes that have a vector: image by alpha, as in the book."""
    stored, about = sight.run.load_attributes()
    vectors = {name: tensor.numpy() for name, tensor in stored.items()}
    names = sorted(vectors, key=lambda n: (favourite(n), -np.linalg.norm(vectors[n])))
    for name in names[:MOST_STRIPS]:
        how = about["attributes"][name]["method"]
        vector = "(mean of mu with it - mean of mu without it)" if how == "mean" else f"vector, by the method {how}"
        values = sight.data.attributes[sight.rows][:, sight.data.attribute_names.index(name)]  # pyright: ignore[reportOptionalSubscript]
        without = spread(sight.rows[presence(values) == 0], 5)
        graded = is_graded(values)
        if not len(without):
            continue
        originals = sight.data.take(without)
        yield Picture(
            f"edit-{name}",
            draw.edit_strip(
                edited(sight, originals, {name: 1.0}, ALPHAS),
                ALPHAS,
                [Path(sight.data.files[row]).name for row in map(int, without)],
                originals,
                title=f"Adding {name}",
                subtitle=f"z = mu + alpha * {vector}",
            ),
            f"{len(without)} {sight.split} images {'low in' if graded else 'without'} {name}, moved along its vector.",
            f"Pictures by strength of {name}.",
        )


def favourite(name: str) -> int:
    """The place of an attribute among those that people ask for first."""
    return FAVOURITES.index(name) if name in FAVOURITES else len(FAVOURITES)


def edited(sight: Sight, images: np.ndarray, weights: dict[str, float], alphas: np.ndarray) -> np.ndarray:
    """(R, S, C, H, W): every image at every alpha."""
    vectors = {name: tensor.numpy() for name, tensor in sight.run.load_attributes()[0].items()}
    direction = combine(vectors, weights)
    z = codes(sight.model, images).mu[:, None] + alphas[None, :, None] * direction
    return decode(sight.model, z.reshape(-1, z.shape[-1])).reshape(len(images), len(alphas), *sight.model.image)


def beside(sight: Sight, other: Sight) -> Iterator[Picture]:
    """The plain autoencoder beside the VAE, on the same images: all splits, because gaps show only where codes are many."""
    plain, vae = (sight, other) if not sight.has_prior else (other, sight)
    data = vae.data
    rows = np.sort(np.random.default_rng(vae.seed).permutation(len(data))[:MOST_POINTS])
    points = [project(codes(each.model, data.pixels, rows).mu).points for each in (plain, vae)]
    grids = None
    if plain.model.latent == vae.model.latent == 2:
        grids = (even_grid(plain.model, points[0]), even_grid(vae.model, points[1]))
    labels = None if data.labels is None else data.labels[rows]
    yield Picture(
        "autoencoder-beside-vae",
        draw.autoencoder_beside_vae(points[0], points[1], labels, data.label_names, grids),
        f"The same {len(rows):,} images of all splits, once as codes of a plain autoencoder, once as mu of a VAE.",
        "Codes of an autoencoder with gaps between them, beside the codes of a VAE.",
    )


def even_grid(model: Model, points: np.ndarray) -> np.ndarray:
    """Pictures (R, S, C, H, W) from an even grid over the codes (N, 2), the outer hundredth left out."""
    steps = 16 if min(model.image[1:]) >= 16 else 10
    low, high = np.quantile(points, (0.01, 0.99), axis=0)
    x, y = np.linspace(low[0], high[0], steps), np.linspace(high[1], low[1], steps)
    z = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return decode(model, z).reshape(steps, steps, *model.image)


CHAPTERS: tuple[tuple[str, str, Callable[[Sight], Iterator[Picture]]], ...] = (
    ("Reconstructions", "What survives the way through the latent space and back.", reconstructions),
    ("New pictures", "What the model makes of draws.", samples),
    ("Told otherwise", "What the model makes of labels and attributes.", told),
    ("The latent space", "Where the encoder puts held-out images.", latent_space),
    ("The decoded plane", "What the decoder shows everywhere.", decoded_plane),
    ("Latent by latent", "Which latents carry information, and what each one does.", latents),
    ("Training", "How it went.", curves),
)
