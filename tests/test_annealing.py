"""Annealed importance sampling against a model whose log p(x) is known: probabilistic PCA (test_ppca.py)."""

import pytest
import torch

import tiny
from test_bounds import COUNT, PIXELS, bound, linear
from test_ppca import IMAGE, LATENT, truth
from vaekit.errors import UsageError
from vaekit.finish import measure
from vaekit.fitting import fit
from vaekit.likelihoods import BernoulliPixels
from vaekit.metrics.annealing import AnnealingPath, annealed, both_sides, times_of
from vaekit.planning import start
from vaekit.sphere import Spherical, UniformSphere


def below(model, steps: int, **more) -> torch.Tensor:
    return annealed(model, lambda part: PIXELS[part], COUNT, steps, **more).below


@pytest.mark.parametrize("steps", [1, 20])
def test_at_the_exact_posterior_it_is_log_px(steps):
    model, exact = linear()
    torch.testing.assert_close(below(model, steps), exact, atol=1e-3, rtol=0)


def test_without_moves_it_is_the_importance_sampled_bound():
    model, _ = linear(away=0.3)
    one = torch.stack([below(model, 1, chains=20, seed=seed) for seed in range(20)]).mean()
    assert one.item() == pytest.approx(sum(bound(model, 20, seed).value for seed in range(20)) / 20, abs=0.1)


def test_far_from_the_posterior_steps_help_where_samples_do_not():
    model, exact = linear(away=3.0)
    few, many = (exact - below(model, steps) for steps in (10, 100))
    assert many.mean() < few.mean() / 2
    assert many.mean() < exact.mean().item() - bound(model, 1600).value  # as many passes through the decoder
    assert abs(many.mean()) < 1


def test_weights_average_to_the_probability_itself():
    """E[w] = p(x), whatever the moves: they leave their distribution as it is."""
    model, exact = linear(away=0.5)
    ratio = (below(model, 20, chains=1000) - exact).exp()
    assert ratio.mean().item() == pytest.approx(1, abs=0.05)


def test_the_truth_lies_between_both_sides():
    model, _ = linear(away=1.0)
    torch.manual_seed(0)
    gaps = []
    for steps in (5, 50):
        found = both_sides(model, 64, steps)
        gaps.append((found.above - found.below).mean().item())
    assert gaps[0] > gaps[1] > -0.05
    assert gaps[1] < 0.3


def test_pictures_whose_probability_is_known_lie_between_both_sides(monkeypatch):
    model, _ = linear(away=0.7)
    drawn = []
    made = AnnealingPath.__init__

    def seen(self, model, x, c):
        drawn.append(x)
        made(self, model, x, c)

    monkeypatch.setattr(AnnealingPath, "__init__", seen)
    monkeypatch.setattr("vaekit.metrics.annealing.IMAGES", 200)  # led together
    found = both_sides(model, 200, 30)
    exact = truth(model)[0].log_prob(torch.cat(drawn).flatten(1)).double()
    assert found.below.mean() < exact.mean() + 0.02
    assert found.above.mean() > exact.mean() - 0.02
    assert found.above.mean() - found.below.mean() < 1


def test_it_leaves_the_generator_as_it_was_and_says_the_same_twice():
    model, _ = linear(away=0.4)
    noise = torch.get_rng_state()
    first, second, other = below(model, 5), below(model, 5), below(model, 5, seed=1)
    assert torch.equal(noise, torch.get_rng_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_t_rises_from_0_to_1():
    for steps in (1, 2, 50):
        times = times_of(steps)
        assert (times[0], times[-1], len(times)) == (0, 1, steps + 1)
        assert times == sorted(times)


def test_what_it_cannot_lead_is_refused():
    with pytest.raises(UsageError, match="autoencoder of points has no bound"):
        below(tiny.model(IMAGE, prior=None), 5)
    sphere = tiny.model(IMAGE, latent=LATENT, posterior=Spherical(features=16, latent=LATENT), prior=UniformSphere(latent=LATENT))
    with pytest.raises(UsageError, match=r"Gaussian q\(z \| x\).*Use --samples"):
        below(sphere, 5)
    with pytest.raises(UsageError, match="1 or more of each"):
        below(tiny.model(IMAGE), 0)


def test_a_run_keeps_both_numbers(tmp_path, quick):
    data = tiny.dataset()
    make = lambda: tiny.model(likelihood=BernoulliPixels())  # noqa: E731
    run = start(tmp_path / "run", data, tiny.recipe(make=make, images=60, binarize="dynamic"))
    fit(run, data)
    found = measure(run, data, anneal=3)
    nll, gap = found["nll_annealed"], found["annealing_gap"]
    assert (nll["count"], nll["split"], nll["unit"]) == (5, "test", "nats per image")
    assert nll["interval"][0] < nll["value"] < nll["interval"][1]
    assert nll["value"] < -found["elbo"]["value"] + 1
    assert "AIS" in nll["how"]
    assert "BDMC" in gap["how"]
    run.add_metrics(found)
