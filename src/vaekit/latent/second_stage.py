"""The second stage: densities fitted to the codes of a trained model, and ranked by what they say of codes held out.

Where the aggregate posterior differs from the prior, the prior's draws fall where no code ever was, and the decoder was never
asked (Rosca et al., 2018, https://arxiv.org/abs/1802.06847). A density fitted to the codes draws from where they are.

Shapes: N codes of D numbers; for a model of discrete codes N times T whole numbers, see `code_transformer.py`.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..batches import mix
from ..code_priors import CodeExemplars, FlowMatching, FullMixture, LabelMixture, SecondVAE, Standardized
from ..code_transformer import CodeTransformer
from ..distributions import Space
from ..errors import UsageError
from ..execution import multiplies_bf16
from ..flows import SplineFlow
from ..model import Model
from ..part import known
from ..posteriors import DiagonalGaussian, Discrete, FullGaussian
from ..priors import CouplingFlow, Mixture, Prior, VampPrior
from .encode import code_numbers, draws

Progress = Callable[[int, int], None]  # steps done, steps in all
Kinds = dict[str, Callable[[int], Prior]]  # by the number of latents
KINDS: Kinds = {
    "gaussian": lambda latent: FullMixture(latent=latent, components=1),
    "mixture": lambda latent: FullMixture(latent=latent, components=10),
    "diagonal": lambda latent: Standardized(latent=latent, inner=Mixture(latent=latent, components=50)),
    "exemplar": lambda latent: CodeExemplars(latent=latent),
    "flow": lambda latent: Standardized(latent=latent, inner=CouplingFlow(latent=latent)),
    "spline": lambda latent: Standardized(latent=latent, inner=SplineFlow(latent=latent)),
    "vae": lambda latent: Standardized(latent=latent, inner=SecondVAE(latent=latent)),
    "diffusion": lambda latent: Standardized(latent=latent, inner=FlowMatching(latent=latent)),
}
BATCH, SEQUENCES = 1024, 64  # codes in a step; of whole numbers, images
RANGES = {  # the fewest and the most latents that a kind is for: covariances and splines grow with their square
    **dict.fromkeys(("gaussian", "mixture", "labels"), (1, 512)),
    "flow": (2, math.inf),
    "spline": (2, 128),
}
DEAR = ("vamp",)  # fitted only where they are named: each step encodes every pseudo-input
PSEUDO = 200  # of these
HELD = 10  # every so-manieth image is held out, where nobody says which
ASKED = 2048  # held-out codes that a density is judged by
FITTED = "the fitted density's draws"  # beside the prior's, of which a share lies in a hole
CHECKS = 20  # of the held-out codes, over the steps of a fit


@dataclass(frozen=True)
class Fitted:
    """A density over codes, as it was at its best, and -log p of codes held out, the mean in nats."""

    name: str
    prior: Prior
    nats: float
    seconds: float


def kinds_for(model: Model, labels: Sequence[str] = (), pictures: np.ndarray | None = None) -> Kinds:
    """What can be fitted to the codes of this model, whose pictures may have these labels.

    pictures (C, C', H, W), uint8: where a VampPrior of C pseudo-inputs begins; without them there is none.
    """
    coder = getattr(model, "posterior", None)
    if model.space is Space.SPHERE:
        raise UsageError(
            "The codes of this model lie on a sphere, where a density over all numbers says nothing. Its own prior does."
        )
    if not isinstance(coder, Discrete):
        kinds = dict(KINDS)
        if len(labels) > 1:
            kinds["labels"] = lambda latent: LabelMixture(latent=latent, components=len(labels), names=tuple(labels))
        if pictures is not None and isinstance(coder, DiagonalGaussian | FullGaussian):
            kinds["vamp"] = lambda latent: vamp(latent, torch.from_numpy(pictures))
        ranges = {name: RANGES.get(name, (1, math.inf)) for name in kinds}
        return {name: kinds[name] for name, (least, most) in ranges.items() if least <= model.latent <= most}
    levels, places = tuple(coder.levels), model.latent // coder.entry
    return {"transformer": lambda codes: CodeTransformer(latent=model.latent, levels=levels, places=places)}


def vamp(latent: int, pictures: Tensor) -> VampPrior:
    prior = VampPrior(latent=latent, image=tuple(pictures.shape[1:]), components=len(pictures))  # pyright: ignore
    prior.begin_at(pictures)
    return prior


def codes_for(model: Model, images: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """What they are fitted to: a draw z ~ q(z | x) for every image (N, D), or whole numbers (N, T).

    Together the draws follow the aggregate posterior, which is what the decoder learned to decode (Dai & Wipf, 2019, section 4);
    mu alone is narrower, and would make any prior look as if it missed.
    """
    if isinstance(getattr(model, "posterior", None), Discrete):
        return code_numbers(model, images, rows, seed)
    return draws(model, images, seed, rows)


def entries_of(model: Model, codes: Tensor) -> Tensor:
    """The z (N, D) that codes stand for, whole numbers (N, T) or z itself."""
    coder = getattr(model, "posterior", None)
    if not isinstance(coder, Discrete):
        return codes
    return coder.entries(codes.unflatten(1, (-1, len(coder.levels)))).flatten(1)


def codes_of_prior(model: Model, n: int, seed: int, prior: Prior | None = None) -> np.ndarray:
    """As `codes_for`, drawn from the model's own prior, or from a density fitted to its codes."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        if prior:
            prior = prior.to(device_of(model))
            return (prior.drawn(n) if isinstance(prior, CodeTransformer) else prior(model).sample((n,)).float()).cpu().numpy()
        coder = getattr(model, "posterior", None)
        if isinstance(coder, Discrete):
            places = model.latent // coder.entry
            drawn = [torch.randint(size, (n, places)) for size in coder.levels]
            return torch.stack(drawn, -1).flatten(1).numpy()
        return model.draw(n).float().cpu().numpy()


def fit_priors(
    train: np.ndarray,
    held: np.ndarray,
    names: list[str] | None = None,
    *,
    kinds: Kinds = KINDS,
    model: Model | None = None,
    labels: np.ndarray | None = None,
    steps: int = 4000,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Fitted]:
    """Each of the kinds but the dear ones, or those that are named, fitted to codes `train` (N, D), best first by `held` (M, D).

    model: whose codes they are, where a kind is made of its posteriors; they are fitted on its device. labels (N,): of the codes
    `train`, where a kind asks for them. `steps` of AdamW where there is no closed way; `progress` hears
    of those of all kinds together. Raises UsageError on a kind that there is not, and on too few codes.
    """
    for name in names or ():
        if name not in kinds:
            raise UsageError(f"No prior of the second stage is named {name!r} for these codes. {known(name, kinds)}")
    if min(len(train), len(held)) < 2:
        given = f"{len(train)} to fit it and {len(held)} to judge it"
        raise UsageError(f"A density over codes was asked for with {given}; it needs 2 of both.")
    wanted, made = names or [name for name in kinds if name not in DEAR], []
    for number, name in enumerate(wanted):

        def told(step: int, before: int = number * steps) -> None:
            if progress:
                progress(before + step, len(wanted) * steps)

        how = {"model": model, "labels": labels, "steps": steps, "seed": seed, "told": told}
        made.append(fit_density(name, kinds[name], train, held, **how))
    return sorted(made, key=lambda fitted: fitted.nats)


def fit_prior(
    model: Model,
    prior: str | Prior,
    images: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    steps: int = 4000,
    seed: int = 0,
) -> Fitted:
    """Fit a density to a model's codes of images (N, C, H, W), uint8, and judge it by a tenth of them that are held out.

    prior: a name that `kinds_for` has, or a prior over model.latent numbers of one's own, which is trained in place. labels (N,):
    of the images, for the kind "labels". `decode(model, draw_codes(fitted.prior, model, n))` are new pictures.

    Raises UsageError on a kind that there is not for these codes, on a prior of other codes, and on fewer than 4 images.
    """
    space = Space.CODES if model.space is Space.CATEGORIES else model.space  # whole numbers both
    if isinstance(prior, Prior) and (prior.latent, prior.space) != (model.latent, space):
        told = f"{type(prior).__name__} is a density over {prior.latent} latents ({prior.space.codes})"
        raise UsageError(f"{told}; for this model give one over {model.latent} ({space.codes}).")
    if labels is not None and len(labels) != len(images):
        raise UsageError(f"{len(labels)} labels were given for {len(images)} images. Give one for each.")
    if len(images) < 4:
        raise UsageError(f"{len(images)} images were given. A density is fitted to some and judged by others; give 4 at least.")
    names, numbers = ([], None) if labels is None else np.unique(np.asarray(labels), return_inverse=True)
    kinds = kinds_for(model, [str(name) for name in names], images[:PSEUDO])
    name = prior if isinstance(prior, str) else type(prior).__name__
    if isinstance(prior, Prior):
        kinds[name] = lambda _: prior
    mixed = np.random.default_rng(mix(seed, 6)).permutation(len(images))
    held, learnt = np.split(mixed, [max(len(images) // HELD, 2)])
    train, asked = (codes_for(model, images, rows, seed) for rows in (learnt, held))
    told = None if numbers is None else numbers[learnt]
    return fit_priors(train, asked, [name], kinds=kinds, model=model, labels=told, steps=steps, seed=seed)[0]


def fit_density(
    name: str,
    kind: Callable[[int], Prior],
    train: np.ndarray,
    held: np.ndarray,
    *,
    model: Model | None = None,
    labels: np.ndarray | None = None,
    steps: int,
    seed: int,
    told: Callable[[int], None] = lambda _: None,
) -> Fitted:
    """One density, by its own loss; the weights with the lowest loss on one half of the codes held out are kept, and judged by
    the other half. `told` hears of each step."""
    began = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 3))
        prior = kind(train.shape[1]).to(device_of(model))
        given, *others = (torch.from_numpy(part).to(device_of(model)) for part in (train, *halves(held)))
        checked, judged = others
        closed = isinstance(prior, FullMixture | CodeExemplars)
        if closed:
            prior.fit(given, seed, None if labels is None else torch.from_numpy(labels))
        if closed or not list(prior.parameters()):
            told(steps)
            return Fitted(name, prior, nats_of(prior, judged, seed, model), time.monotonic() - began)
        if isinstance(prior, Standardized):
            prior.measure(given)
        batch = BATCH if given.is_floating_point() else SEQUENCES
        attends = isinstance(prior, CodeTransformer)  # whose steps are long, and products of matrices; it is judged in fp32
        rounded = torch.autocast(given.device.type, torch.bfloat16, enabled=attends and multiplies_bf16(given.device))
        best, kept = math.inf, copy.deepcopy(prior.state_dict())
        optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(1, steps + 1):
            with rounded:
                loss = prior.loss(given[torch.randint(len(given), (batch,))], model)
            optimizer.zero_grad()
            loss.backward(inputs=list(prior.parameters()))  # a model that it encodes by stays as it is
            torch.nn.utils.clip_grad_norm_(prior.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            told(step)
            if step % max(steps // CHECKS, 1) == 0 or step == steps:
                lost = loss_of(prior, checked, seed, model)
                if lost < best:
                    best, kept = lost, copy.deepcopy(prior.state_dict())
        prior.load_state_dict(kept)
        return Fitted(name, prior.eval(), nats_of(prior, judged, seed, model), time.monotonic() - began)


def halves(held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every other one, and the rest; both all of them where there are fewer than 4."""
    return (held[::2], held[1::2]) if len(held) >= 4 else (held, held)


def device_of(model: Model | None) -> torch.device:
    return torch.device("cpu") if model is None else next(model.parameters()).device


def label_of(prior: Prior, given: Sequence[str]) -> str | None:
    """The label of which codes are asked for, by ["label=3"]; None where nothing is given.

    Raises UsageError for a density that knows of no labels, and for anything else than one label.
    """
    if not given:
        return None
    if not isinstance(prior, LabelMixture):
        raise UsageError(
            "This fitted density knows of no labels. Draw from the model's own prior, or if pictures have labels: --prior labels"
        )
    names = [text.partition("=")[::2] for text in given]
    if len(names) != 1 or names[0][0] != "label":
        raise UsageError(f"{' '.join(given)} was given. Expected one label: label={prior.names[0]}")
    return names[0][1]


def draw_codes(
    prior: Prior, model: Model, n: int, seed: int = 0, temperature: float = 1.0, *, given: Sequence[str] = ()
) -> np.ndarray:
    """n codes (n, D) of a density fitted to those of this model, scaled by `temperature` around its mean.

    given: ["label=3"], see `label_of`, and raises as that does.
    """
    label, prior = label_of(prior, given), prior.to(device_of(model))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        p = prior.of(label) if isinstance(prior, LabelMixture) and label is not None else prior(model)
        drawn = p.sample((n,))
        return (drawn if temperature == 1 else p.mean + temperature * (drawn - p.mean)).float().cpu().numpy()


def hole_of(prior: Prior, held: np.ndarray, own: np.ndarray, seed: int, model: Model) -> float:
    """The share of codes `own` that are less probable, by a density fitted to this model's codes, than 99 % of those held out."""
    prior = prior.to(device_of(model))
    there, here = (nats_each(prior, torch.from_numpy(part).to(device_of(model)), seed, model) for part in (own, held))
    return (there > here.quantile(0.99)).double().mean().item()


@torch.no_grad()
def loss_of(prior: Prior, codes: Tensor, seed: int, model: Model | None) -> float:
    """Where it is not exact, with the same draws every time."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 5))
        parts = codes.split(BATCH if codes.is_floating_point() else SEQUENCES)
        losses = [prior.loss(part, model).item() * len(part) for part in parts]
        return sum(losses) / len(codes)


def nats_of(prior: Prior, codes: Tensor, seed: int, model: Model | None) -> float:
    """-log p of codes, the mean in nats."""
    return nats_each(prior, codes, seed, model).double().mean().item()


@torch.no_grad()
def nats_each(prior: Prior, codes: Tensor, seed: int, model: Model | None) -> Tensor:
    """-log p of codes in nats, (N,), on the CPU. The global generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 4))
        parts = codes.split(BATCH if codes.is_floating_point() else SEQUENCES)
        return torch.cat([prior.nats(part, model).cpu() for part in parts])
