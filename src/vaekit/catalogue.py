"""The recipes as they are listed: whose idea each is, what it is for, what it costs, and what it reached.

`vaekit recipes` and docs/variants.md are written from here. What was reached stands in reached.json, which benchmarks/variants.py
writes: {data set: {"how": the budget, "figures": {recipe: {name: value}}}}.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from .variants import VARIANTS


class Entry(NamedTuple):
    """One recipe."""

    paper: str
    link: str
    purpose: str
    cost: str  # beside a step of the plain VAE with the same nets


APART = {  # recipes that are more than a variant of the plain VAE
    "two-stage": Entry(
        "Dai & Wipf (2019)",
        "https://arxiv.org/abs/1903.05789",
        "new pictures from a second VAE over the codes of the first: `vaekit sample RUN --prior vae`",
        "a density of the codes, fitted at the end",
    ),
    "autoencoder": Entry(
        "Hinton & Salakhutdinov (2006)",
        "https://doi.org/10.1126/science.1127647",
        "a plain autoencoder: good reconstructions, and holes between the codes",
        "none",
    ),
    "digits-2d": Entry(
        "Kingma & Welling (2014)",
        "https://arxiv.org/abs/1312.6114",
        "two latents for digits or other small pictures: a latent space that can be seen as it is",
        "none",
    ),
    "faces": Entry(
        "Kingma & Welling (2014)",
        "https://arxiv.org/abs/1312.6114",
        "colour faces: many latents, mirrored pictures, small batches",
        "none",
    ),
    "book": Entry(
        "Foster (2019)",
        "https://www.oreilly.com/library/view/generative-deep-learning/9781492041931/",
        "the well-known book's loss: r_loss_factor * error + KL",
        "none",
    ),
    "density": Entry(
        "Chen et al. (2017), with neighbours and a flow",
        "https://arxiv.org/abs/1611.02731",
        "the highest probability of small black-and-white pictures",
        "a masked net over pixels, and six small nets",
    ),
    "pixel-vae": Entry(
        "Gulrajani et al. (2017)",
        "https://arxiv.org/abs/1611.05013",
        "few bits per dimension of grey or coloured pictures, by pixels that see each other",
        "a masked net over pixels, and six small nets",
    ),
    "ladder": Entry(
        "Vahdat & Kautz (2020), Child (2021)",
        "https://arxiv.org/abs/2007.03898",
        "the hierarchical VAE, latents at every resolution: the best bound",
        "many times a step of `mlp`",
    ),
    "nvae": Entry(
        "Vahdat & Kautz (2020), appendix A",
        "https://arxiv.org/abs/2007.03898",
        "the same, its groups of latents balanced while they begin to learn",
        "that of `ladder`",
    ),
}

SHOWN = {
    "nll": "-log p(x) <= {:.2f}",
    "rmse": "RMSE {:.3f}",
    "frechet": "FD {:.3g}",
    "frechet_fitted": "FD {:.3g} after a second stage",
}


def catalogue() -> dict[str, Entry]:
    """Every recipe by its name."""
    return {"vae": of("vae")} | APART | {name: of(name) for name in VARIANTS if name != "vae"}


def of(variant: str) -> Entry:
    its = VARIANTS[variant]
    return Entry(its.paper, its.link, its.purpose, its.cost)


@cache
def reached() -> dict[str, Any]:
    """By data set, see above."""
    return json.loads(files("vaekit").joinpath("reached.json").read_text())


def reached_by(recipe: str) -> dict[str, str]:
    """What a recipe reached, in words, by data set."""
    found = {name: about["figures"][recipe] for name, about in reached().items() if recipe in about["figures"]}
    return {name: ", ".join(form.format(its[key]) for key, form in SHOWN.items() if key in its) for name, its in found.items()}
