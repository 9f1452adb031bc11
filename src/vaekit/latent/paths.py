"""Paths between codes. Both ends are reached exactly."""

import numpy as np

from ..errors import UsageError

KINDS = ("lerp", "slerp")


def path(a: np.ndarray, b: np.ndarray, steps: int, kind: str = "lerp") -> np.ndarray:
    """`steps` codes from a (D,) to b (D,), both included, (steps, D).

    `lerp` is the straight line. `slerp` turns from one direction to the other at constant angular speed (Shoemake, 1985) while
    the length goes evenly from |a| to |b|: draws from N(0, I) lie near a sphere, and the straight line cuts through its inside.
    Raises UsageError on another kind, on fewer than 2 steps and on two codes of different shapes.
    """
    if kind not in KINDS:
        raise UsageError(f"No path is named {kind!r}; choose {' or '.join(KINDS)}.")
    if steps < 2:
        raise UsageError(f"A path of {steps} steps cannot reach both ends; give 2 or more.")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise UsageError(f"A path was asked for from a code of shape {a.shape} to {b.shape}. Give two codes of one model.")
    t = np.linspace(0, 1, steps)[:, None]
    straight = (1 - t) * a + t * b
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    if kind == "lerp" or min(length_a, length_b) == 0:
        return straight.astype(np.float32)
    angle = np.arccos(np.clip(a @ b / (length_a * length_b), -1, 1))
    if np.sin(angle) < 1e-6:  # one direction, or two opposite ones, between which no shortest turn exists
        return straight.astype(np.float32)
    direction = (np.sin((1 - t) * angle) * a / length_a + np.sin(t * angle) * b / length_b) / np.sin(angle)
    turned = direction * ((1 - t) * length_a + t * length_b)
    turned[0], turned[-1] = a, b
    return turned.astype(np.float32)
