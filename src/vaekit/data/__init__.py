"""From files, arrays and names to a `Dataset`: decoded pictures, what is known of each, and three splits. No torch here.

Every name is imported when it is first used: a decoding process needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .binarize import BINARIZED, binarized, trained_on
    from .dataset import Dataset
    from .decode import Broken, Recipe
    from .quarantine import Finding, Quarantine
    from .sources import NAMES, check_data, open_data, read_image

__all__ = [
    "BINARIZED",
    "NAMES",
    "Broken",
    "Dataset",
    "Finding",
    "Quarantine",
    "Recipe",
    "binarized",
    "check_data",
    "open_data",
    "read_image",
    "trained_on",
]

HOMES = {
    "binarize": ("BINARIZED", "binarized", "trained_on"),
    "dataset": ("Dataset",),
    "decode": ("Broken", "Recipe"),
    "quarantine": ("Finding", "Quarantine"),
    "sources": ("NAMES", "check_data", "open_data", "read_image"),
}


def __getattr__(name: str) -> Any:
    """Import the module that a public name lives in, once, at its first use."""
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
