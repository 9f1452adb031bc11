"""The compiled whole step computes what the step in pieces does."""

import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import tiny
from conformance import VARIANTS
from tiny import CPU, pictures
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.likelihoods import OptimalGaussian
from vaekit.model import VAE
from vaekit.nets import ConvDecoder, ConvEncoder
from vaekit.objectives import Reconstruction
from vaekit.posteriors import Deterministic
from vaekit.state import State
from vaekit.train import stepper, train

pytestmark = [
    pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),  # torch's own compiler, on its import
]


def plain() -> tuple[VAE, Reconstruction]:
    """An autoencoder: a compiled step draws other noise than an eager one, and this has none."""
    image = (1, 8, 8)
    encoder = ConvEncoder(image=image, features=16, width=8, widest=8)
    decoder = ConvDecoder(image=image, latent=3, width=8, widest=8)
    posterior = Deterministic(features=16, latent=3)
    return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=OptimalGaussian()), Reconstruction()


def trained(compile: str, steps: int, state: State | None = None) -> tuple[State, list[dict[str, float]]]:
    begun, settings = tiny.state(make=plain, images=8 * 40, learning_rate=3e-3, clip=0.01)
    state = state or begun
    execution = Execution(CPU, compile=compile)
    going = train(state, Batches(pictures(40), np.arange(40), 8, 0, CPU), settings, execution)
    return state, [next(going).values for _ in range(steps)]


@pytest.fixture(scope="module")
def both():
    """Twelve steps in pieces; six as a whole and then six in pieces, as a run that goes on elsewhere."""
    apart, expected = trained("off", 12)
    whole, found = trained("whole", 6)
    _, rest = trained("off", 6, whole)
    return apart, expected, whole, found + rest


def test_the_whole_step_has_the_values_of_the_step_in_pieces(both):
    _, expected, _, found = both
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-3, abs=1e-3)


def test_a_run_goes_on_in_pieces_where_the_whole_step_left_it(both):
    apart, _, whole, _ = both
    ours, theirs = whole.tensors(), apart.tensors()
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-2, atol=1e-3, msg=lambda told, name=name: f"{name}: {told}")


def test_a_step_that_is_not_finite_is_not_taken():
    """One bias of the decoder is not a number; nothing else may hear of it."""

    def make() -> tuple[VAE, Reconstruction]:
        return tiny.model(posterior=Deterministic(features=16, latent=3), prior=None), Reconstruction()

    state, settings = tiny.state(make=make, images=8 * 40, learning_rate=3e-3)
    take, bias = stepper(state, settings, Execution(CPU, compile="whole")), "decoder.body.0.bias"
    seen = torch.from_numpy(pictures(8)), torch.zeros(8, 0)
    for images in (0, 8):
        take(seen, images, rate=1e-3, keep=0.9)
    before = {name: t.clone() for name, t in state.tensors().items()}
    with torch.no_grad():
        state.model.get_parameter(bias)[0] = torch.nan
    values = take(seen, 16, rate=1e-3, keep=0.9)
    assert not torch.isfinite(values[0])
    after = state.tensors()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert [name for name in moved if "likelihood" not in name and not name.endswith((bias, "step"))] == []


SOME = {
    "vae bernoulli elbo-cyclical",
    "vae conv colour, not square",
    "vae continuous-bernoulli classic-rmse",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SOME else pytest.mark.slow) for name in VARIANTS])
def test_every_variant_takes_the_same_steps_as_one_graph(name):
    """With torch's own random numbers in the graph, both draw the same noise. A compilation each: all of them are slow."""

    def values(compile: str) -> list[float]:
        torch.manual_seed(0)
        model, objective = VARIANTS[name]()
        settings = tiny.training(images=8 * 4, learning_rate=1e-3, flip=True)
        state = State.start(model, objective, settings, CPU)
        batches = Batches(pictures(40, model.image), np.arange(40), 8, 0, CPU, known=tiny.known(model, 40))
        steps = train(state, batches, settings, Execution(CPU, compile=compile))
        return [value for step in steps for value in step.values.values()]

    with torch._inductor.config.patch(fallback_random=True):
        assert values("whole") == pytest.approx(values("off"), rel=1e-3, abs=1e-3)


FREED = """
import resource, threading, torch
from vaekit.execution import Execution

def faults():
    for _ in range(10):  # until there is a place that fits
        torch.empty(24 << 20).fill_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(24 << 20).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults()]
Execution(torch.device("cpu")).apply()
found.append(faults())
thread = threading.Thread(target=lambda: found.append(faults()))
thread.start()
thread.join()
print(*found)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_memory_that_a_step_frees_is_there_for_the_next():
    before, after, elsewhere = map(int, subprocess.check_output([sys.executable, "-c", FREED], text=True).split())
    assert before > 100
    assert max(after, elsewhere) < before / 10
