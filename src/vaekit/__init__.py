"""Train a variational autoencoder on your own pictures, measure it honestly, see, walk and edit its latent space.

Every name is imported when it is first used: `import vaekit` loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Dataset, check_data, open_data, read_image
    from .errors import CheckFailed, DataError, Diverged, Stopped, UsageError, VaekitError
    from .fitting import fit
    from .latent import AttributeVector, Codes, attribute_vectors, combine, decode, encode, path, reconstruct
    from .latent.second_stage import Fitted, draw_codes, fit_prior
    from .library import Part, build, describe
    from .metrics import evaluate
    from .model import VAE
    from .planning import start
    from .recipes import Recipe, cook
    from .report import write_report
    from .run import Run
    from .together import fit_together
    from .trace import Group, Trace
    from .training import Training

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "AttributeVector",
    "CheckFailed",
    "Codes",
    "DataError",
    "Dataset",
    "Diverged",
    "Fitted",
    "Group",
    "Part",
    "Recipe",
    "Run",
    "Stopped",
    "Trace",
    "Training",
    "UsageError",
    "VaekitError",
    "__version__",
    "attribute_vectors",
    "build",
    "check_data",
    "combine",
    "cook",
    "decode",
    "describe",
    "draw_codes",
    "encode",
    "evaluate",
    "fit",
    "fit_prior",
    "fit_together",
    "open_data",
    "path",
    "read_image",
    "reconstruct",
    "start",
    "write_report",
]

HOMES = {
    "data": ("Dataset", "check_data", "open_data", "read_image"),
    "errors": ("CheckFailed", "DataError", "Diverged", "Stopped", "UsageError", "VaekitError"),
    "fitting": ("fit",),
    "latent": ("AttributeVector", "Codes", "attribute_vectors", "combine", "decode", "encode", "path", "reconstruct"),
    "latent.second_stage": ("Fitted", "draw_codes", "fit_prior"),
    "library": ("Part", "build", "describe"),
    "metrics": ("evaluate",),
    "model": ("VAE",),
    "planning": ("start",),
    "recipes": ("Recipe", "cook"),
    "report": ("write_report",),
    "run": ("Run",),
    "together": ("fit_together",),
    "trace": ("Group", "Trace"),
    "training": ("Training",),
}


def __getattr__(name: str) -> Any:
    """Import the module that a public name lives in, once, at its first use."""
    for home, names in HOMES.items():
        if name in names:
            module = import_module(f".{home}", __name__)
            globals().update({each: getattr(module, each) for each in names})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
