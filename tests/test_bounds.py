"""The importance-sampled bound against a model whose log p(x) is known: probabilistic PCA (test_ppca.py)."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import tiny
from conformance import ladder
from test_ppca import IMAGE, linear_vae, truth, with_exact_posterior, with_orthogonal_columns
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.finish import measure
from vaekit.fitting import fit
from vaekit.ladder import Ladder
from vaekit.likelihoods import BernoulliPixels
from vaekit.metrics import Bound, bounds, importance_bound
from vaekit.model import VAE, Model
from vaekit.planning import start
from vaekit.posteriors import FullGaussian
from vaekit.priors import ExemplarPrior, VampPrior
from vaekit.sphere import Spherical, UniformSphere

COUNT = 40
PIXELS = torch.from_numpy(tiny.pictures(COUNT, IMAGE))


def linear(away: float = 0.0, seed: int = 1) -> tuple[VAE, torch.Tensor]:
    """A linear model whose posterior is `away` from the true one, and the exact log p(x) of every picture."""
    torch.manual_seed(seed)
    model = linear_vae().eval()
    with torch.no_grad():
        with_orthogonal_columns(model)
        with_exact_posterior(model)
        model.posterior.head.bias.add_(away * torch.randn(model.posterior.head.bias.shape))
        return model, truth(model)[0].log_prob(PIXELS.flatten(1) / 255).double()


def bound(model: VAE, samples: int, seed: int = 0, **more) -> Bound:
    return importance_bound(model, lambda part: PIXELS[part], COUNT, samples, seed=seed, **more)


@pytest.mark.parametrize("samples", [1, 7, 200])
def test_at_the_exact_posterior_it_is_log_px_with_any_number_of_samples(samples):
    model, exact = linear()
    found = bound(model, samples)
    torch.testing.assert_close(found.log_px, exact, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.effective, torch.full_like(exact, samples), rtol=1e-3, atol=0)
    assert set(found.curve) == {k for k in (1, 10, 100) if k <= samples} | {samples}
    assert all(value == pytest.approx(exact.mean().item(), abs=1e-3) for value in found.curve.values())


def test_away_from_it_more_samples_come_closer_from_below():
    model, exact = linear(away=0.4)
    gaps = []
    for samples in (1, 10, 100, 2000):
        found = [bound(model, samples, seed).value for seed in range(8)]
        gaps.append(exact.mean().item() - sum(found) / 8)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 20 * abs(gaps[-1])


def test_the_curve_is_the_bound_at_fewer_samples_of_the_same_draws():
    model, _ = linear(away=0.4)
    longer = bound(model, 300)
    for samples in (1, 10, 100):
        assert longer.curve[samples] == pytest.approx(bound(model, samples).value)
    low, high = longer.interval
    assert low < longer.value < high
    assert (longer.effective >= 1).all()
    assert (longer.effective < 300).all()


def test_it_leaves_the_generator_as_it_was_and_says_the_same_twice():
    model, _ = linear(away=0.4)
    noise = torch.get_rng_state()
    first, second, other = bound(model, 20), bound(model, 20), bound(model, 20, seed=1)
    assert torch.equal(noise, torch.get_rng_state())
    assert torch.equal(first.log_px, second.log_px)
    assert not torch.equal(first.log_px, other.log_px)


def test_bf16_is_compared_with_fp32_first(monkeypatch):
    torch.manual_seed(0)
    model = tiny.model(IMAGE, likelihood=BernoulliPixels()).eval()
    execution = Execution(tiny.CPU, "bf16")
    assert bound(model, 20, execution=execution).value == pytest.approx(bound(model, 20).value, abs=0.05)
    monkeypatch.setattr(bounds, "CLOSE", 0.0)
    with pytest.raises(UsageError, match=r"differs from fp32 by .* --precision fp32"):
        bound(model, 20, execution=execution)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler, on its import
def test_a_training_s_execution_serves_here_too():
    """Its step may be one compiled graph; this is another function, compiled like any other."""
    model, _ = linear(away=0.4)
    assert bound(model, 20, execution=Execution(tiny.CPU, compile="whole")).value == pytest.approx(
        bound(model, 20).value, abs=1e-3
    )


def test_what_has_no_density_is_refused():
    with pytest.raises(UsageError, match="autoencoder of points has no bound"):
        bound(tiny.model(IMAGE, prior=None), 5)
    with pytest.raises(UsageError, match="1 or more of both"):
        bound(tiny.model(IMAGE), 0)


def test_a_run_keeps_its_bound_with_the_protocol(tmp_path, quick):
    data = tiny.dataset()
    make = lambda: tiny.model(likelihood=BernoulliPixels())  # noqa: E731
    run = start(tmp_path / "run", data, tiny.recipe(make=make, images=60, binarize="dynamic"))
    fit(run, data)
    run.add_metrics(measure(run, data, samples=12))
    nll = run.metrics["nll"]
    assert (nll["count"], nll["split"], nll["unit"], nll["trained_on"]) == (5, "test", "nats per image", 30)
    assert nll["interval"][0] < nll["value"] < nll["interval"][1]
    assert nll["curve"].keys() == {"1", "10", "12"}
    assert nll["value"] == pytest.approx(nll["curve"]["12"], abs=1e-4)
    assert "IS-12" in nll["how"]
    assert "dynamic binarisation" in nll["pixels"]
    assert nll["value"] < -run.metrics["elbo"]["value"] + 1


# What is computed of a pass, and how often


SHOWN = torch.from_numpy(tiny.pictures(20))  # a block, and one of four


def hierarchy() -> Ladder:
    torch.manual_seed(0)
    model, _ = ladder()()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def shown_bound(model: Model, **more) -> Bound:
    return importance_bound(model, lambda part: SHOWN[part], len(SHOWN), 100, **more)


def counted(monkeypatch, owner: type, name: str, what) -> list:
    """Notes `what` of every call of a method."""
    calls, method = [], getattr(owner, name)

    def noting(self, *given):
        calls.append(what(*given))
        return method(self, *given)

    monkeypatch.setattr(owner, name, noting)
    return calls


def test_a_hierarchy_is_weighed_on_the_way_down_on_which_it_is_drawn(monkeypatch):
    model, ways = hierarchy(), counted(monkeypatch, Ladder, "descend", lambda count, *_: count)
    found = shown_bound(model)
    assert ways == [64 * 16] * 2 + [64 * 4] * 2
    monkeypatch.setattr(bounds, "Ladder", type(None))  # as any model: drawn, decoded, and asked for p(z)
    expected = shown_bound(model)
    assert len(ways) == 4 + 3 * 4
    torch.testing.assert_close(found.log_px, expected.log_px, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("prior", [VampPrior, ExemplarPrior])
def test_a_prior_made_by_the_encoder_is_made_once(prior, monkeypatch):
    torch.manual_seed(0)
    made = prior(latent=3, image=(1, 8, 8), components=5)
    model = tiny.model(prior=made, likelihood=BernoulliPixels()).eval()
    encoded = counted(monkeypatch, VAE, "encode", lambda x, *_: len(x))
    found = shown_bound(model)
    assert encoded == [5, 16, 16]
    monkeypatch.setattr(bounds, "parts_of", lambda model: None)
    torch.testing.assert_close(found.log_px, shown_bound(model).log_px)


def test_a_mixture_of_other_posteriors_is_asked_itself():
    torch.manual_seed(0)
    prior = VampPrior(latent=3, image=(1, 8, 8), components=5)
    model = tiny.model(posterior=FullGaussian(features=16, latent=3), prior=prior, likelihood=BernoulliPixels()).eval()
    assert bounds.parts_of(model) is None
    assert torch.isfinite(shown_bound(model).log_px).all()


@pytest.mark.parametrize(
    ("make", "weigh"),
    [
        pytest.param(lambda: tiny.model(likelihood=BernoulliPixels()).eval(), "log_weights", id="vae"),
        pytest.param(hierarchy, "walk", id="ladder"),
    ],
)
def test_a_compiled_pass_has_one_shape_and_the_draws_of_any_other(make, weigh, monkeypatch):
    torch.manual_seed(0)
    model, shapes, weighed = make(), set(), getattr(bounds, weigh)
    expected = shown_bound(model)

    def noting(model, seen, drawn, *rest):
        each = [drawn] if isinstance(drawn, torch.Tensor) else drawn
        shapes.update((tuple(its.shape[:-1]), tuple(seen[0].shape)) for its in each)
        return weighed(model, seen, drawn, *rest)

    monkeypatch.setattr(bounds, weigh, noting)
    monkeypatch.setattr(Execution, "compiled", lambda self, function, **_: function)
    found = shown_bound(model, execution=Execution(tiny.CPU, compile="on"))
    assert shapes == {((64, 16), (16, 1, 8, 8))}
    torch.testing.assert_close(found.log_px, expected.log_px, atol=1e-4, rtol=1e-5)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler, on its import
@pytest.mark.parametrize("constant", [True, False])
def test_weights_that_stay_are_laid_out_once(constant):
    net, x = torch.nn.Linear(16, 16), torch.randn(32, 16)
    run = Execution(tiny.CPU, compile="on").compiled(lambda part, x: part(x), constant=constant)
    with torch.no_grad():
        before = run(net, x)
        torch.testing.assert_close(before, net(x), atol=1e-4, rtol=1e-4)
        net.weight.zero_()
        assert torch.equal(run(net, x), before) == constant


# What an image's draws depend on

KINDS = {
    "vae": lambda: tiny.model(likelihood=BernoulliPixels()).eval(),
    "sphere": lambda: tiny.model(
        posterior=Spherical(features=16, latent=3), prior=UniformSphere(latent=3), likelihood=BernoulliPixels()
    ).eval(),
    "ladder": hierarchy,
}


@pytest.fixture(params=KINDS)
def kind(request) -> Model:
    torch.manual_seed(0)
    return KINDS[request.param]()


def test_a_picture_has_the_same_bound_among_others(kind):
    many = torch.from_numpy(tiny.pictures(32))
    beside = many.clone()
    beside[1::2] = 255 - beside[1::2]
    whole, few, strange = (
        importance_bound(kind, lambda part, its=its: its[part], count, 100).log_px
        for its, count in ((many, 32), (many, 20), (beside, 32))
    )
    torch.testing.assert_close(few, whole[:20], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(strange[::2], whole[::2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(strange[1::2], whole[1::2], atol=1e-2)


@pytest.mark.parametrize(("at_once", "size"), [(16, 1), (64, 4), (150, 8)])
def test_how_many_images_a_pass_holds_does_not_matter(kind, at_once, size, monkeypatch):
    expected = shown_bound(kind)
    monkeypatch.setattr(Model, "at_once", at_once)
    assert bounds.Passes(kind, Execution(tiny.CPU)).size == size
    torch.testing.assert_close(shown_bound(kind).log_px, expected.log_px, atol=1e-5, rtol=1e-5)


def test_in_bf16_a_hierarchy_has_the_draws_of_fp32(monkeypatch):
    model = hierarchy()
    expected = shown_bound(model)
    monkeypatch.setattr(bounds, "autocast", lambda execution: nullcontext())  # nothing is rounded, on the way of bf16
    monkeypatch.setattr(Model, "at_once", 64)
    found = shown_bound(model, execution=Execution(tiny.CPU, "bf16"))
    torch.testing.assert_close(found.log_px, expected.log_px, atol=1e-4, rtol=1e-5)


def test_the_benchmark_says_what_to_do_with_a_run_that_has_no_bound(tmp_path, monkeypatch):
    run = start(tmp_path / "run", tiny.dataset(), tiny.recipe(images=80))
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    monkeypatch.setattr("sys.argv", ["bound.py", str(run.path)])
    from bound import main

    with pytest.raises(SystemExit, match=r"has no bound.*: vaekit evaluate .*run --samples 5000"):
        main()
