"""Whether new pictures are new: beside each, the training pictures that are nearest to it."""

from collections.abc import Iterator

import numpy as np

from .. import draw
from ..latent.encode import picture_of, prior_codes
from ..latent.second_stage import draw_codes
from .sight import Picture, Sight

COUNT, NEAR = 10, 2  # new pictures, and training pictures beside each
MOST, BLOCK = 20_000, 512  # training pictures that are looked at, and at once


def neighbours(sight: Sight) -> Iterator[Picture]:
    """A figure of new pictures, where the run can make any."""
    if sight.run.priors:
        name, density = sight.run.load_prior()
        z, source = draw_codes(density, sight.model, COUNT, sight.seed), f"the fitted density {name!r}"
    elif sight.has_prior:
        z, source = prior_codes(sight.model, COUNT, sight.seed), sight.prior
    else:
        return
    shown, how = picture_of(sight.run, sight.model, sight.seed)
    new = shown(z)
    rows = sight.data.some("train", MOST, sight.seed)
    places, errors = nearest(new, sight, rows)
    found = np.stack([sight.data.take(rows[its]) for its in places.T])
    yield Picture(
        "neighbours",
        draw.nearest_strip(new, found, errors[:, 0], subtitle=f"z drawn from {source}, seed {sight.seed}, not chosen"),
        f"{COUNT} new pictures, and of {len(rows):,} training pictures the {NEAR} with the smallest error of pixels beside each. "
        f"One that equals a training picture was remembered, not made. {how.capitalize()}.",
        "New pictures above the training pictures that are nearest to them.",
    )


def nearest(new: np.ndarray, sight: Sight, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of N new pictures, where among the rows the nearest training pictures are, near ones first, and their RMSE; (N, NEAR)."""
    flat = new.reshape(len(new), -1).astype(np.float32)
    found = []
    for part in np.split(rows, range(BLOCK, len(rows), BLOCK)):
        real = sight.data.take(part).reshape(len(part), -1) / np.float32(255)
        found.append(np.square(flat).sum(1)[:, None] - 2 * flat @ real.T + np.square(real).sum(1))
    squared = np.concatenate(found, 1)
    places = np.argsort(squared, axis=1, kind="stable")[:, :NEAR]
    return places, np.sqrt(np.take_along_axis(squared, places, 1).clip(0) / flat.shape[1])
