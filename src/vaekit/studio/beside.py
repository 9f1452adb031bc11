"""A studio in a process of its own, beside a training."""

import os
import signal
import traceback
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread

import torch

from ..errors import VaekitError
from .server import serve
from .shown import Wish

NICE = 10  # the training goes first


def beside(runs: list[Path], cache: Path | None = None) -> tuple[SpawnProcess, str, str]:
    """Open a studio of these runs in another process, which ends with this one; its address with the token, and one to use once.

    It computes on one thread of the processor, at a low priority. cache: where the pictures were decoded to. Raises VaekitError
    where it cannot be opened.
    """
    context = get_context("spawn")
    heard, said = context.Pipe(duplex=False)
    process = context.Process(target=attend, args=(runs, cache, said), name="studio", daemon=True)
    process.start()
    said.close()
    with heard:
        try:
            good, word, once = heard.recv()
        except EOFError:
            raise VaekitError("The studio ended before it was open. Train without --studio, or free some memory.") from None
    if not good:
        process.join()
        raise VaekitError(word)
    return process, word, once


def attend(runs: list[Path], cache: Path | None, said: Connection) -> None:
    """Serve until the process that asked for it is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the training decides what it means
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the training's memory is not ours
    if cache:
        os.environ["VAEKIT_CACHE"] = str(cache)
    if hasattr(os, "nice"):
        os.nice(NICE)
    torch.set_num_threads(1)
    Thread(target=answer, args=(runs, said), daemon=True).start()  # outside the main thread a server leaves signals alone
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def answer(runs: list[Path], said: Connection) -> None:
    """Serve; whatever ends it ends the process, so that nobody waits for an address."""
    once: list[str] = []
    try:
        serve(runs, wish=Wish(device="cpu"), browser=once.append, opened=lambda address: said.send((True, address, once[0])))
    except VaekitError as error:
        said.send((False, str(error), ""))
    except Exception as error:  # noqa: BLE001 (the process ends before the thread could tell)
        traceback.print_exc()
        told = f"The studio ended before it was open: {type(error).__name__}: {error}. See above, or train without --studio."
        said.send((False, told, ""))
    finally:
        os._exit(1)
