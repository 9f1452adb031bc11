"""The choice of how a step runs: the fastest that is right, remembered, and taken back when the machine changes."""

import math
import threading

import pytest
import torch

from tiny import CPU, training
from vaekit.execution import Execution
from vaekit.training import Training
from vaekit.tuner import Attention, choose, halves


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


class Machine:
    """Steps that take as many hundredths of a second as `slow` says, and give the loss that `loss` says."""

    def __init__(self, slow, loss=lambda execution, seed: 100.0 + seed / 100):
        self.slow, self.loss, self.tried = slow, loss, []

    def __call__(self, execution: Execution):
        self.tried.append(execution)

        def once(seed: int) -> float:
            threading.Event().wait(0.01 * self.slow(execution))
            return self.loss(execution, seed)

        return once


def of_precision(fp32: int, bf16: int):
    return lambda execution: {"fp32": fp32, "bf16": bf16}[execution.precision]


OPEN = {"images": 10, "precision": "auto", "deterministic": False}


@pytest.mark.parametrize("settings", [{"deterministic": True}, {"tune": False}])
def test_nothing_is_chosen_by_the_clock_when_that_was_asked(settings):
    machine = Machine(of_precision(3, 1))
    found = choose(training(**OPEN | {"compile": "auto", "layout": "auto"} | settings), machine, 8, convolves=True)
    assert {execution.precision for execution in machine.tried} == {found.execution.precision} == {"fp32"}
    assert found.gain == 1
    assert found.speed > 0


def test_the_fastest_precision_is_chosen_and_its_gain_told():
    found = choose(training(**OPEN), Machine(of_precision(3, 1)), 8)
    assert found.execution.precision == "bf16"
    assert found.gain > 1.5
    assert choose(training(**OPEN), Machine(of_precision(1, 3)), 8, about="another").execution.precision == "fp32"


def test_a_choice_is_remembered_for_the_same_work_alone():
    fast, slow = Machine(of_precision(3, 1)), Machine(of_precision(1, 3))
    assert not choose(training(**OPEN), fast, 8, about="a model").remembered
    again = choose(training(**OPEN), slow, 8, about="a model")
    assert again.remembered
    assert not choose(training(**OPEN), slow, 8, about="another model").remembered
    assert not choose(training(**OPEN, batch_size=16), slow, 8, about="a model").remembered


def test_a_damaged_memory_is_no_memory(tmp_path):
    choose(training(**OPEN), Machine(of_precision(3, 1)), 8)
    for damage in ('{"precision": "bf16"', "{}"):
        for kept in tmp_path.glob("tuned/*.json"):
            kept.write_text(damage)
        assert choose(training(**OPEN), Machine(of_precision(3, 1)), 8).execution.precision == "bf16"


def test_a_fast_candidate_with_another_loss_is_refused_and_named():
    heard = []
    for wrong in (90.0, math.nan):
        machine = Machine(
            of_precision(3, 1), lambda execution, seed, wrong=wrong: 100.0 if execution.precision == "fp32" else wrong
        )
        assert choose(training(**OPEN), machine, 8, about=str(wrong), say=heard.append).execution.precision == "fp32"
    assert len(heard) == 2
    assert "precision bf16: its loss is 90" in heard[0]


def test_a_candidate_that_fails_is_left_out_and_named():
    """A compiler that is there but broken must not end a training that can do without it."""
    heard = []

    def broken(execution: Execution, seed: int) -> float:
        if execution.precision == "bf16":
            raise RuntimeError("no such kernel")
        return 1.0

    found = choose(Training(images=10, threads=1, compile="off", device="cpu"), Machine(lambda _: 0, broken), 8, say=heard.append)
    assert found.execution.precision == "fp32"
    assert any("RuntimeError" in message for message in heard)


def test_what_pays_only_with_something_else_is_found_too():
    seconds = {("bf16", "patches"): 1, ("fp32", "patches"): 2, ("fp32", "contiguous"): 4}
    machine = Machine(lambda execution: seconds.get((execution.precision, execution.layout), 6))
    found = choose(training(**OPEN | {"layout": "auto"}), machine, 8, about="both", convolves=True)
    assert (found.execution.precision, found.execution.layout) == ("bf16", "patches")
    assert len(machine.tried) == len(set(machine.tried))


@pytest.mark.parametrize("layout", ["channels_last", "patches"])
def test_a_memory_layout_is_tried_only_where_there_are_convolutions(layout):
    for convolves in (False, True):
        machine = Machine(lambda execution: 1 if execution.layout == layout else 3)
        settings = training(**OPEN | {"precision": "fp32", "layout": "auto"})
        found = choose(settings, machine, 8, about=[layout, convolves], convolves=convolves)
        assert found.execution.layout == (layout if convolves else "contiguous")


def test_weights_take_the_layout_and_give_it_back():
    conv = torch.nn.Conv2d(3, 4, 3)
    before = conv.weight.detach().clone()
    Execution(CPU, layout="channels_last").apply(conv)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv.weight, before)
    Execution(CPU).apply(conv)
    assert conv.weight.is_contiguous()


def test_thread_counts_are_halved_down_to_one():
    assert halves(8) == [4, 2, 1]
    assert halves(1) == []


class Neighbourhood:
    """A clock, and steps whose time depends on the threads in use and on whether a neighbour is busy."""

    def __init__(self, most: int = 2, threads: int | None = None):
        self.now, self.most, self.busy, self.heard = 0.0, most, False, []
        self.attention = Attention(threads or most, most, self.heard.append, lambda: self.now)

    def steps(self, seconds: float):
        end = self.now + seconds
        while self.now < end:
            alone = 0.1 / self.attention.threads
            self.now += 2.0 if self.busy and self.attention.threads == self.most else alone
            yield self.attention.threads

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


def test_a_run_that_began_on_another_machine_is_watched_too():
    here = Neighbourhood(4, threads=6)
    here.live(200)
    assert here.attention.threads in (4, 6)


def test_steps_pass_through_attention_unchanged():
    assert list(Attention(1, 1, print).watch(iter(range(5)))) == [0, 1, 2, 3, 4]
