"""From files, arrays and names to a `Dataset`: decoded pictures, what is known of each, and three splits. No torch here."""

from .binarize import binarized
from .dataset import Dataset
from .decode import Broken, Recipe
from .quarantine import Finding, Quarantine
from .sources import NAMES, check_data, open_data, read_image

__all__ = ["NAMES", "Broken", "Dataset", "Finding", "Quarantine", "Recipe", "binarized", "check_data", "open_data", "read_image"]
