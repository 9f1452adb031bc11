"""What must be true of every variant there is."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from conformance import LIKELIHOODS, OBJECTIVES, VARIANTS, vae
from tiny import CPU, known, pictures, training
from vaekit.batches import Batches
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.latent import encode, reconstruct
from vaekit.model import VAE
from vaekit.objectives import Objective
from vaekit.part import build, describe
from vaekit.run import Run
from vaekit.state import State
from vaekit.terms import mse
from vaekit.trace import At
from vaekit.train import picture, train, validate

Variant = tuple[VAE, Objective]
FP32 = Execution(CPU)


@pytest.fixture(params=VARIANTS)
def make(request):
    return VARIANTS[request.param]


@pytest.fixture
def variant(make) -> Variant:
    torch.manual_seed(0)
    return make()


def batch(model: VAE, count: int = 6, seed: int = 0) -> torch.Tensor:
    return picture(torch.from_numpy(pictures(count, model.image, seed)))


def told(model: VAE, count: int = 6) -> torch.Tensor:
    return torch.from_numpy(known(model, count))


def loss_of(model: VAE, objective: Objective, x: torch.Tensor) -> torch.Tensor:
    t = objective.look(model, x, told(model, len(x)))
    return torch.stack([term.mean() for term in objective(t, At(20)).values()]).sum()


def untrained(model: VAE, objective: Objective) -> set[str]:
    """Parameters that the objective has no use for: some losses ask for errors, not for densities."""
    return (
        {name for name, _ in model.named_parameters() if name.startswith("likelihood.")} if not objective.asks_density else set()
    )


def begin(make, seed: int = 0, **given) -> tuple[State, Batches, object]:
    torch.manual_seed(seed)
    settings = training(**{"images": 8 * 40, "learning_rate": 1e-2, "weight_decay": 0.0} | given)
    model, objective = make()
    pixels = pictures(20, model.image)
    batches = Batches(pixels, np.arange(20), settings.batch_size, 0, CPU, known=known(model, 20))
    return State.start(model, objective, settings, CPU), batches, settings


def take(state: State, batches: Batches, settings, steps: int) -> list:
    steps_ahead = train(state, batches, settings, FP32)
    return [next(steps_ahead) for _ in range(steps)]


def test_a_description_builds_the_same_thing_again(variant):
    for part in variant:
        text = json.dumps(describe(part), allow_nan=False)
        again = build(json.loads(text))
        assert type(again) is type(part)
        assert json.dumps(describe(again)) == text
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in part.state_dict().items()}


@pytest.mark.parametrize("samples", [1, 3])
def test_terms_are_finite_and_one_for_every_image(variant, samples):
    model, objective = variant
    x = batch(model)
    c = told(model)
    t = model(x, samples, c)
    assert torch.cat([group.z for group in t.groups], -1).shape == (samples, 6, model.latent)
    assert {group.log_q.shape for group in t.groups} == {t.log_px.shape} == {(samples, 6)}
    assert t.px.mean.shape == (samples, *x.shape)
    assert t.px.mean.min() >= 0
    assert t.px.mean.max() <= 1
    terms = objective(objective.look(model, x, c), At(0))
    assert terms
    for name, term in terms.items():
        assert term.shape == (6,), name
        assert torch.isfinite(term).all(), name


def test_the_gradient_reaches_what_it_should_and_nothing_else(variant):
    """In some step, of the objective too: a critic whose hinges are both met, or cancel in its last bias, has none just then."""
    model, objective = variant
    x = batch(model)
    learned = {name: p for part in variant for name, p in part.named_parameters(type(part).__name__) if p.requires_grad}
    optimizer, reached = torch.optim.Adam(learned.values(), lr=1e-2), set()
    for _ in range(11):  # blocks that start at 0 pass their gradient on after a step or two
        optimizer.zero_grad()
        loss_of(model, objective, x).backward()
        assert all(torch.isfinite(p.grad).all() for p in learned.values() if p.grad is not None)
        reached |= {name for name, p in learned.items() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
    idle = {f"{type(model).__name__}.{name}" for name in untrained(model, objective)}
    assert reached == learned.keys() - idle


WEIGHED = [name for name, make in OBJECTIVES.items() if make().samples > 1]  # refused by the optimal sigma: test_objectives.py


@pytest.mark.parametrize(
    ("likelihood", "objective"),
    [pair for pair in product(LIKELIHOODS, OBJECTIVES) if pair not in product(["optimal-gaussian"], WEIGHED)],
)
def test_every_objective_takes_every_likelihood(likelihood, objective):
    torch.manual_seed(0)
    model, objective = vae(likelihood, objective)()
    x = batch(model)
    terms = objective(objective.look(model, x), At(20))
    assert all(term.shape == (6,) and torch.isfinite(term).all() for term in terms.values())
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == untrained(model, objective)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_few_steps_overfit_one_batch(make):
    state, _, settings = begin(make)
    pixels = pictures(8, state.model.image)
    batches = Batches(pixels, np.arange(8), 8, 0, CPU, known=known(state.model, 8))
    x = picture(torch.from_numpy(pixels))

    def error() -> float:
        torch.manual_seed(0)
        return mse(state.model(x)).mean().item()

    before = error()
    steps = [step.values["loss"] for step in train(state, batches, settings, FP32)]
    assert np.isfinite(steps).all()
    assert np.mean(steps[-5:]) < np.mean(steps[5:10])
    assert error() < 0.6 * before


def test_the_same_seed_gives_the_same_loss(make):
    def losses(seed: int) -> list[float]:
        return [step.values["loss"] for step in take(*begin(make, seed), 3)]

    assert losses(5) == losses(5) != losses(6)


def test_in_eval_mode_an_image_does_not_feel_its_batch_mates(variant):
    model, _ = variant
    model.double().eval()
    x, strangers = batch(model).double(), batch(model, seed=1).double()
    strangers[0] = x[0]
    z = torch.randn(1, 6, model.latent, dtype=torch.float64)
    with torch.no_grad():
        c = told(model)
        alone, among, elsewhere = model.encode(x[:1], c[:1]), model.encode(x, c), model.encode(strangers, c)
        for q in (among, elsewhere):
            torch.testing.assert_close(q.mean[:1], alone.mean)
            torch.testing.assert_close(q.variance[:1], alone.variance)
        log_px = model.decode(z[:, :1], c[:1]).log_prob(x[:1])[0, 0]
        torch.testing.assert_close(model.decode(z, c).log_prob(x)[0, 0], log_px)
        torch.testing.assert_close(model.decode(z, c).log_prob(strangers)[0, 0], log_px)


def test_a_resumed_training_has_the_same_bits(make):
    straight, batches, settings = begin(make)
    take(straight, batches, settings, 5)

    broken, batches, settings = begin(make)
    take(broken, batches, settings, 3)  # two batches are an epoch, so this is the middle of the second
    stored, position = save(broken.tensors()), json.dumps(broken.position())

    fresh, batches, settings = begin(make, seed=99)
    fresh.restore(load(stored), json.loads(position))
    take(fresh, batches, settings, 2)
    assert (fresh.step, fresh.images) == (straight.step, straight.images) == (5, 40)
    a, b = straight.tensors(), fresh.tensors()
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_a_saved_model_is_the_same_model(make, tmp_path):
    state, batches, settings = begin(make)
    take(state, batches, settings, 2)
    model = state.average
    run = Run(tmp_path / "run")
    run.describe({"data": {}, "model": describe(model), "objective": {}, "training": {}})
    run.save_weights(model)
    loaded = run.load_model()
    assert not loaded.training
    pixels = pictures(4, model.image)
    for mode in ("mean", "sample"):
        np.testing.assert_array_equal(encode(loaded, pixels, mode), encode(model, pixels, mode))
    np.testing.assert_array_equal(reconstruct(loaded, pixels), reconstruct(model, pixels))
    x = picture(torch.from_numpy(pixels))
    with torch.no_grad():
        z = torch.randn(2, 4, model.latent)
        assert torch.equal(loaded.decode(z).log_prob(x), model.decode(z).log_prob(x))
    if not loaded.has_prior:
        with pytest.raises(UsageError, match="no prior to sample from"):
            loaded.sample(2)
    else:
        assert loaded.sample(2).shape == (2, *model.image)


def test_a_validation_says_the_same_twice_and_touches_nothing(variant):
    model, objective = variant
    pixels = torch.from_numpy(pictures(5, model.image))
    before, noise = {name: t.clone() for name, t in model.state_dict().items()}, torch.get_rng_state()
    c = told(model, 5)
    first = validate(model.eval(), objective, lambda part: (pixels[part], c[part]), 5)
    assert first == validate(model, objective, lambda part: (pixels[part], c[part]), 5)
    assert torch.equal(noise, torch.get_rng_state())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert {"distortion", "mse", "loss"} <= first.keys()
    if model.has_rate:
        assert first["elbo"] == pytest.approx(-first["distortion"] - first["rate"])


def test_double_precision_works_throughout(variant):
    model, objective = (part.double() for part in variant)
    loss = loss_of(model, objective, batch(model).double())
    assert loss.dtype == torch.float64
    loss.backward()
    if model.has_prior:
        assert model.sample(2).dtype == torch.float64


def test_another_image_shape_is_refused_by_name(variant):
    model, _ = variant
    channels, height, width = model.image
    with pytest.raises(UsageError, match=rf"images of shape \({channels}, {height}, {width}\), got \({channels}, {height}, 32\)"):
        model(torch.zeros(2, channels, height, 32))
    with pytest.raises(UsageError, match=rf"shape \(K, B, {model.latent}\)"):
        model.decode(torch.zeros(2, model.latent))
