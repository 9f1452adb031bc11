"""Signals while a training goes on: what was asked for happens, once, and nothing is lost."""

import signal

import pytest

from vaekit.fitting import signals


class Stop(Exception):
    pass


def test_a_second_ctrl_c_interrupts_at_once_and_the_handlers_come_back():
    before, heard = signal.getsignal(signal.SIGINT), []

    def training() -> None:
        with signals() as caught:
            signal.raise_signal(signal.SIGINT)
            heard.extend(caught)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training()
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_sigterm_waits_as_the_first_did():
    heard = []

    def training() -> None:
        with signals() as caught:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            heard.extend(caught)
            raise Stop  # as a training does that has saved

    with pytest.raises(Stop):
        training()
    assert heard == [signal.SIGTERM] * 3


def test_a_signal_that_nobody_looked_at_is_passed_on():
    with pytest.raises(KeyboardInterrupt), signals():
        signal.raise_signal(signal.SIGINT)
