"""A step of every variant is one graph, which computes what the step in pieces does. test_step.py compiles some for good."""

import numpy as np
import pytest
import torch

import tiny
from conformance import VARIANTS
from tiny import CPU, pictures
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.state import State
from vaekit.train import train


@pytest.fixture
def traced(monkeypatch):
    """What a step compiles is traced as ever, and torch itself runs it. The weights stay: their update knows no variant."""
    compile, graphs = torch.compile, []

    def tracing(function, *, fullgraph, dynamic, options):
        graphs.append(fullgraph)
        kept = {name: options[name] for name in options.keys() & {"guard_filter_fn"}}  # the others are the compiler's own
        return compile(function, backend="eager", fullgraph=fullgraph, dynamic=dynamic, options=kept)

    monkeypatch.setattr(torch, "compile", tracing)
    monkeypatch.setattr("vaekit.step.adamw", lambda *_, **__: None)
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_of_every_variant_is_one_graph_with_the_same_loss_and_gradient(name, traced):
    def values(compile: str) -> dict[str, float]:
        torch.manual_seed(0)
        model, objective = VARIANTS[name]()
        settings = tiny.training(images=8, learning_rate=1e-3, flip=True)
        state = State.start(model, objective, settings, CPU)
        batches = Batches(pictures(40, model.image), np.arange(40), 8, 0, CPU, known=tiny.known(model, 40))
        (step,) = train(state, batches, settings, Execution(CPU, compile=compile))
        return step.values

    assert values("whole") == pytest.approx(values("off"), rel=1e-4, abs=1e-5)
    assert traced == [True]
