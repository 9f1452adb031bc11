"""Pictures of results: pure functions of numpy arrays that return matplotlib figures or Pillow images.

Nothing here needs a display, a model or a run folder, and nothing touches matplotlib's global state.
"""

from .animation import animate, save_animation
from .curves import training_curves
from .grids import edit_strip, manifold, morph_strip, nearest_strip, reconstructions, samples, told_strip, traversals
from .latent import autoencoder_beside_vae, latent_histograms, latent_scatter, unit_square
from .style import save_png
from .tradeoff import front

__all__ = [
    "animate",
    "autoencoder_beside_vae",
    "edit_strip",
    "front",
    "latent_histograms",
    "latent_scatter",
    "manifold",
    "morph_strip",
    "nearest_strip",
    "reconstructions",
    "samples",
    "save_animation",
    "save_png",
    "told_strip",
    "training_curves",
    "traversals",
    "unit_square",
]
