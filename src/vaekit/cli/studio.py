"""studio."""

import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ..studio import Wish, beside, serve
from .progress import console, doing
from .reading import Count, Whole
from .stopping import code_of

USUAL = Wish()


def studio(
    runs: list[Path],
    /,
    *,
    host: str = "127.0.0.1",
    port: Whole = 0,
    points: Count = USUAL.points,
    layout: Literal["pca", "tsne", "umap"] = "pca",
    batch: Count = USUAL.batch,
    browser: bool = True,
) -> None:
    """Open a page on this machine to see, walk and edit the latent spaces of runs; finished, or still training.

    Parameters
    ----------
    runs
        Run folders, one or more.
    host
        The address to listen on. Another than this machine's own lets others in who have the token.
    port
        The port; 0: a free one.
    points
        Pictures on the map, at most.
    layout
        Where they lie: by their first two principal components, or so that neighbours stay neighbours, which takes minutes.
    batch
        Codes or pictures of several requests that share a forward pass, at most.
    browser
        Open the page in the browser.
    """

    def opened(address: str) -> None:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        console.print("Ctrl-C closes the studio.")

    def once(address: str) -> None:
        threading.Timer(1, show, [address]).start()  # when the server answers

    wish = Wish(points, layout, batch)
    try:
        serve(runs, host=host, port=port, wish=wish, opened=opened, browser=once if browser else None)
    except KeyboardInterrupt as stop:
        console.print("Closed.")
        sys.stdout.flush()
        os._exit(code_of(stop))  # what a thread still computes is of no use to anybody


def open_beside(runs: list[Path], cache: Path | None) -> Callable[[], None]:
    """Open the studio of runs that are about to be trained; the result keeps it open until it is interrupted."""
    with doing("opening the studio"):
        process, address, once = beside(runs, cache)
    console.print(f"studio  {address}", soft_wrap=True)
    show(once)

    def until_closed() -> None:
        console.print("The studio is still open. Ctrl-C closes it.")
        with suppress(KeyboardInterrupt):
            process.join()

    return until_closed


def show(address: str) -> None:
    """Open the page, by an address that works once, in the browser of the desktop; one that lives in a terminal would take it."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            threading.Thread(target=browser.open, args=(address,), daemon=True).start()
