"""The multi-scale structural similarity of pictures (Wang et al., 2003, Multiscale structural similarity).

https://ece.uwaterloo.ca/~z70wang/publications/msssim.html
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .distributions import exactly, full_precision

WINDOW, SPREAD = 11, 1.5  # pixels: the Gaussian window, and its standard deviation (Wang et al., 2004, section III.B)
STEADY = (0.01**2, 0.03**2)  # keep the ratios of luminance and contrast finite; pixels in [0, 1]
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, fine ones first (Wang et al., 2003, section 3.2)


def scales(height: int, width: int) -> int:
    """How many scales a picture has room for: at the coarsest it is still a window wide; one at least."""
    return next((n for n in range(len(WEIGHTS), 1, -1) if min(height, width) >> (n - 1) >= WINDOW), 1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Of pictures (N, C, H, W) in [0, 1], 1 where they are equal, (N,); the mean over channels.

    Pictures too small for five scales, or for the window, have as many scales, and as wide a window, as there is room for.
    """
    with exactly(a):
        return over_scales(full_precision(a), full_precision(b))


def over_scales(a: Tensor, b: Tensor) -> Tensor:
    count = scales(*a.shape[2:])
    weights = [weight / sum(WEIGHTS[:count]) for weight in WEIGHTS[:count]]
    found = a.new_ones(a.shape[:2])
    for scale, weight in enumerate(weights):
        whole, structure = similarity(a, b)
        part = whole if scale == count - 1 else structure
        found = found * part.clamp_min(1e-6) ** weight  # where structures are opposite, a root would have no gradient
        if scale < count - 1:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return found.mean(1)


def similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The similarity of luminance, contrast and structure, and that of the last two alone; means over all windows, (N, C)."""
    size = min(WINDOW, *a.shape[2:])
    at = torch.arange(size, dtype=a.dtype, device=a.device) - (size - 1) / 2
    window = torch.softmax(-at.square() / (2 * SPREAD**2), 0)

    def seen(t: Tensor) -> Tensor:
        """Means under the window, wherever it lies inside."""
        flat = t.flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1)).view(*t.shape[:2], -1)

    mean_a, mean_b = seen(a), seen(b)
    variance_a, variance_b = seen(a * a) - mean_a.square(), seen(b * b) - mean_b.square()
    covariance = seen(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + STEADY[0]) / (mean_a.square() + mean_b.square() + STEADY[0])
    structure = (2 * covariance + STEADY[1]) / (variance_a + variance_b + STEADY[1])
    return (luminance * structure).mean(-1), structure.mean(-1)
