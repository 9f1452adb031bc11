"""The choice of how a step runs: the fastest that is right, remembered, and taken back when the machine changes."""

import math

import numpy as np
import pytest
import torch

import tiny
from test_trials import found as batch_found
from tiny import CPU, pictures, training
from vaekit import world
from vaekit.batches import Batches
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.trials import trial, twin
from vaekit.tuner import WORTH_COMPILING, Attention, Choice, Outcome, agrees, attended, choose, halves


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


class Machine:
    """A clock, and steps that take as many hundredths of a second as `slow` says, with the loss and the gradient norm given."""

    def __init__(self, slow, loss=lambda execution, seed: 100.0 + seed / 100, gradient=lambda execution, seed: 2.0 + seed / 100):
        self.slow, self.loss, self.gradient, self.tried, self.now = slow, loss, gradient, [], 0.0

    def __call__(self, execution: Execution):
        self.tried.append(execution)

        def once(seed: int) -> Outcome:
            self.now += 0.01 * self.slow(execution)
            return Outcome(self.loss(execution, seed), self.gradient(execution, seed))

        return once


def of_precision(fp32: float, bf16: float):
    return lambda execution: {"fp32": fp32, "bf16": bf16}[execution.precision]


OPEN = {"images": 10, "precision": "auto", "deterministic": False}


def chosen(machine: Machine, about=None, say=lambda message: None, convolves: bool = False, **settings) -> Choice:
    """What is chosen on a machine for a step over 8 images."""
    given = {"about": about, "convolves": convolves, "say": say, "clock": lambda: machine.now}
    return choose(training(**OPEN | settings), machine, 8, **given)


@pytest.mark.parametrize("settings", [{"deterministic": True}, {"tune": False}])
def test_nothing_is_chosen_by_the_clock_when_that_was_asked(settings):
    machine = Machine(of_precision(3, 1))
    found = chosen(machine, convolves=True, compile="auto", layout="auto", **settings)
    assert {execution.precision for execution in machine.tried} == {found.execution.precision} == {"fp32"}
    assert found.gain == 1
    assert found.speed > 0


def test_the_fastest_precision_is_chosen_and_its_gain_told():
    found = chosen(Machine(of_precision(3, 1)))
    assert found.execution.precision == "bf16"
    assert found.gain == pytest.approx(3)
    assert chosen(Machine(of_precision(1, 3)), "another").execution.precision == "fp32"


def test_a_choice_is_remembered_for_the_same_work_alone():
    fast, slow = Machine(of_precision(3, 1)), Machine(of_precision(3, 9))
    assert not chosen(fast, "a model").remembered
    assert chosen(slow, "a model").remembered
    assert not chosen(slow, "another model").remembered
    assert not chosen(slow, "a model", batch_size=16).remembered


def test_what_was_found_beside_a_busy_neighbour_is_forgotten_without_it():
    heard = []
    assert chosen(Machine(of_precision(30, 40)), "a model").execution.precision == "fp32"
    alone = chosen(Machine(of_precision(3, 1)), "a model", heard.append)
    assert (alone.execution.precision, alone.remembered) == ("bf16", False)
    assert heard == ["Timed again: the plain step is 10.00 times as fast as when its fastest way was found."]
    assert chosen(Machine(of_precision(2.5, 5)), "a model").remembered  # 1.2 times as fast: that is chance


def test_a_damaged_memory_is_no_memory(tmp_path):
    chosen(Machine(of_precision(3, 1)))
    odd = '{"precision": "fp32", "layout": "contiguous", "compile": "off", "plain_speed": "high"}'
    for damage in ('{"precision": "bf16"', "{}", odd):
        for kept in tmp_path.glob("tuned/*.json"):
            kept.write_text(damage)
        assert chosen(Machine(of_precision(3, 1))).execution.precision == "bf16"


def test_a_fast_candidate_with_another_loss_is_refused_and_named():
    heard = []
    for wrong in (90.0, math.nan):
        machine = Machine(
            of_precision(3, 1), lambda execution, seed, wrong=wrong: 100.0 if execution.precision == "fp32" else wrong
        )
        assert chosen(machine, str(wrong), heard.append).execution.precision == "fp32"
    assert len(heard) == 2
    assert "precision bf16: its loss is 90 where the plain step has 100." in heard[0]


def test_a_fast_candidate_with_another_gradient_is_refused_and_named():
    """Its loss is right, so the forward pass is; what was made of the backward pass is not."""
    heard = []
    for wrong in (1.0, math.inf):
        machine = Machine(
            of_precision(3, 1), gradient=lambda execution, seed, wrong=wrong: 2.0 if execution.precision == "fp32" else wrong
        )
        assert chosen(machine, str(wrong), heard.append).execution.precision == "fp32"
    assert len(heard) == 2
    assert "precision bf16: its gradient norm is 1 where the plain step has 2." in heard[0]


def test_rounding_and_noise_are_no_differences():
    steady, noisy = [Outcome(100.0, 2.0)] * 3, [Outcome(100.0, norm) for norm in (1.8, 2.0, 2.2)]
    assert agrees(Outcome(100.4, 2.09), steady)  # a gradient is rounded in every layer on its way back
    assert not agrees(Outcome(100.6, 2.0), steady)
    assert not agrees(Outcome(100.0, 2.2), steady)
    assert agrees(Outcome(100.0, 3.0), noisy)


def test_a_candidate_that_fails_is_left_out_and_named():
    """A compiler that is there but broken must not end a training that can do without it."""
    heard = []

    def broken(execution: Execution, seed: int) -> float:
        if execution.precision == "bf16":
            raise RuntimeError("no such kernel")
        return 1.0

    found = chosen(Machine(lambda _: 1, broken), say=heard.append)
    assert found.execution.precision == "fp32"
    assert any("RuntimeError" in message for message in heard)


def test_a_plain_step_that_does_not_fit_is_told_with_a_way_out():
    def large(execution: Execution, seed: int) -> float:
        raise torch.OutOfMemoryError("no room")

    for tune in (True, False):
        with pytest.raises(UsageError, match=r"over 8 images does not fit into the memory of cpu.*--batch-size"):
            chosen(Machine(lambda _: 1, large), tune=tune)


def test_what_pays_only_with_something_else_is_found_too():
    seconds = {("bf16", "patches"): 1, ("fp32", "patches"): 2, ("fp32", "contiguous"): 4}
    machine = Machine(lambda execution: seconds.get((execution.precision, execution.layout), 6))
    found = chosen(machine, "both", convolves=True, layout="auto")
    assert (found.execution.precision, found.execution.layout) == ("bf16", "patches")
    assert len(machine.tried) == len(set(machine.tried))


@pytest.mark.parametrize("layout", ["channels_last", "patches"])
def test_a_memory_layout_is_tried_only_where_there_are_convolutions(layout):
    for convolves in (False, True):
        machine = Machine(lambda execution: 1 if execution.layout == layout else 3)
        found = chosen(machine, [layout, convolves], convolves=convolves, precision="fp32", layout="auto")
        assert found.execution.layout == (layout if convolves else "contiguous")


def test_weights_take_the_layout_and_give_it_back():
    conv = torch.nn.Conv2d(3, 4, 3)
    before = conv.weight.detach().clone()
    Execution(CPU, layout="channels_last").apply(conv)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv.weight, before)
    Execution(CPU).apply(conv)
    assert conv.weight.is_contiguous()


# Trials


def test_a_trial_needs_no_average_of_its_own_and_changes_nothing():
    state, settings = tiny.state()
    ours, theirs = (list(its.average.parameters()) for its in (state, twin(state, settings, Execution(CPU))))
    assert [p.data_ptr() for p in ours] == [p.data_ptr() for p in theirs]
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    step = trial(state, settings, Batches(pictures(40), np.arange(40), 8, 0, CPU))(Execution(CPU))
    assert isinstance(step(0), Outcome)
    assert before.keys() == state.tensors().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors().items())


def test_several_processes_hold_their_gradients_once_more(monkeypatch):
    """As they do when these meet, so that the memory that is told, and a batch that is found, are those of training."""
    state, settings = tiny.state()
    step = trial(state, settings, Batches(pictures(40), np.arange(40), 8, 0, CPU))(Execution(CPU))
    joined, cat = [], torch.cat

    def watched(tensors, *given, **named):
        joined.append(cat(tensors, *given, **named))
        return joined[-1]

    monkeypatch.setattr(torch, "cat", watched)
    weights = sum(p.numel() for p in state.model.parameters())
    for size in (1, 2):
        monkeypatch.setattr(world.here, "size", size)
        step(0)
        assert any(each.numel() > weights for each in joined) == (size == 2)


def test_several_processes_take_the_smallest_of_the_batches_that_they_found(monkeypatch):
    monkeypatch.setattr("vaekit.world.gathered", lambda best: [best, 32])
    assert batch_found(monkeypatch, lambda batch: 0.02 * max(batch, 64) / 64) == 32


# While training


def test_thread_counts_are_halved_down_to_one():
    assert halves(8) == [4, 2, 1]
    assert halves(1) == []


class Neighbourhood:
    """A clock, and steps whose time depends on the threads in use and on whether a neighbour is busy."""

    def __init__(self, most: int = 2, threads: int | None = None):
        self.now, self.most, self.busy, self.heard, self.worth = 0.0, most, False, [], True
        self.attention = Attention(threads or most, most, self.heard.append, lambda: self.now, lambda speed: self.worth)

    def steps(self, seconds: float):
        end = self.now + seconds
        while self.now < end:
            threads = self.attention.threads
            crowded = threads > self.most or (self.busy and threads == self.most)
            self.now += 2.0 if crowded else 0.1 / threads
            yield threads

    def live(self, seconds: float) -> list[int]:
        return list(self.attention.watch(self.steps(seconds)))


def test_a_busy_neighbour_is_answered_while_training_and_forgotten_when_it_leaves():
    here = Neighbourhood()
    assert set(here.live(60)) == {2}
    here.busy = True
    assert here.live(60)[-1] == 1
    assert torch.get_num_threads() == 1
    here.busy = False
    assert here.live(200)[-1] == 2
    assert len(here.heard) == 2
    assert "1 instead of 2" in here.heard[0]


def test_of_many_thread_counts_few_are_tried():
    """Each is another compilation."""
    here = Neighbourhood(64)
    here.live(60)
    here.busy = True
    used = here.live(200)
    assert set(used) == {64, 32, 16}
    assert used[-1] == 32


def test_a_run_with_more_threads_than_there_are_processors_finds_fewer():
    here = Neighbourhood(4, threads=6)
    assert here.live(200)[-1] == 4
    assert "4 instead of 6" in here.heard[0]


def test_no_count_is_compiled_for_that_would_not_pay():
    here = Neighbourhood(threads=1)
    here.worth = False
    assert set(here.live(200)) == {1}
    here.worth = True
    assert here.live(400)[-1] == 2
    here.busy, here.worth = True, False  # the step for one thread is there already
    assert here.live(400)[-1] == 1


@pytest.mark.parametrize(
    ("compile", "passed", "speed", "worth"),
    [("off", 0.99, 1.0, True), ("whole", 0.0, 1.0, True), ("whole", 0.99, 1.0, False), ("whole", 0.99, 0.01, True)],
)
def test_compiling_pays_where_enough_of_a_training_is_left(compile, passed, speed, worth, monkeypatch):
    """At one step a second it takes twice the seconds that a compiler is worth."""
    monkeypatch.setattr("vaekit.tuner.can_compile", lambda: True)
    asked = []

    class Asked(Attention):
        def watch(self, steps):
            asked.append(self.worth(speed))
            return steps

    monkeypatch.setattr("vaekit.tuner.Attention", Asked)
    settings = training(images=2 * WORTH_COMPILING * 8, batch_size=8, threads=None, deterministic=False)
    attended(iter(()), settings, Execution(CPU, compile=compile), print, lambda: passed)
    assert asked == [worth]


def test_steps_pass_through_attention_unchanged():
    assert list(Attention(1, 1, print).watch(iter(range(5)))) == [0, 1, 2, 3, 4]
