"""The parts of a drawn face, from the shoulders to the eyeglasses. Each takes a layer, the nuisances and the skin, and draws."""

import numpy as np

from .canvas import INK, WHITE, Colour, Layer, along, apart, between, circle, curve, mirrored, mix, moved, oval, symmetric
from .traits import Nuisance

SKIN: tuple[Colour, ...] = (
    (255, 226, 205),
    (250, 208, 178),
    (238, 188, 150),
    (219, 161, 118),
    (186, 126, 84),
    (148, 94, 62),
    (120, 76, 52),
    (98, 62, 46),
)
IRIS: tuple[Colour, ...] = (
    (74, 44, 28),
    (122, 76, 38),
    (140, 122, 54),
    (78, 132, 84),
    (62, 142, 158),
    (70, 120, 190),
    (120, 146, 170),
)
CLOTHES: tuple[Colour, ...] = (
    (240, 236, 226),
    (232, 178, 84),
    (222, 106, 84),
    (176, 72, 96),
    (112, 84, 148),
    (62, 92, 158),
    (44, 128, 140),
    (76, 140, 100),
    (66, 74, 92),
)
FRAMES: tuple[Colour, ...] = ((28, 28, 36), (62, 40, 34), (122, 66, 38), (150, 34, 52), (38, 62, 128), (24, 24, 30))


def skin_colour(n: Nuisance) -> Colour:
    return mix(along(SKIN, n.skin), (232, 120, 96) if n.warmth > 0.5 else (226, 190, 120), 0.16 * abs(n.warmth - 0.5))


def draw_body(layer: Layer, n: Nuisance, skin: Colour) -> None:
    """Neck, shoulders and one of four kinds of clothes."""
    cloth = along(CLOTHES, n.clothes_colour)
    dark = mix(cloth, (20, 16, 40), 0.28)
    layer.fill(np.array([(-0.4, 0.7), (0.4, 0.7), (0.44, 1.7), (-0.44, 1.7)]), mix(skin, (140, 50, 50), 0.1))
    shoulders = ((-2.1, 3.0), (-1.7, 2.1), (-1.25, 1.74), (-0.46, 1.5))
    if n.clothes_style < 0.3:  # crew neck
        layer.fill(curve(*shoulders, (0, 1.74), (0.46, 1.5), (1.25, 1.74), (1.7, 2.1), (2.1, 3.0)), cloth)
        layer.brush(curve((-0.5, 1.49), (-0.3, 1.67), (0, 1.74), (0.3, 1.67), (0.5, 1.49)), 0.1, dark, taper=0)
    elif n.clothes_style < 0.55:  # turtleneck
        layer.fill(curve(*shoulders, (0, 1.5), (0.46, 1.5), (1.25, 1.74), (1.7, 2.1), (2.1, 3.0)), cloth)
        layer.fill(
            curve((-0.46, 1.3), (0, 1.42), (0.46, 1.3), (0.54, 1.62), (0, 1.78), (-0.54, 1.62), closed=True),
            mix(cloth, WHITE, 0.1),
        )
        layer.brush(curve((-0.5, 1.6), (0, 1.74), (0.5, 1.6)), 0.05, dark, taper=0.3)
    elif n.clothes_style < 0.8:  # shirt with a collar
        layer.fill(curve(*shoulders, (-0.1, 1.9), (0, 2.0), (0.1, 1.9), (0.46, 1.5), (1.25, 1.74), (1.7, 2.1), (2.1, 3.0)), cloth)
        layer.both(np.array([(-0.46, 1.34), (-0.06, 1.84), (-0.4, 2.04), (-0.68, 1.56)]), mix(cloth, WHITE, 0.45))
    else:  # hooded jumper
        layer.fill(curve(*shoulders, (0, 1.8), (0.46, 1.5), (1.25, 1.74), (1.7, 2.1), (2.1, 3.0)), cloth)
        layer.both(curve((-0.5, 1.34), (-0.86, 1.5), (-0.74, 1.84), (-0.1, 2.06), (-0.16, 1.84), closed=True), dark)
        layer.both(np.array([(-0.2, 1.8), (-0.15, 1.8), (-0.17, 2.2), (-0.22, 2.2)]), WHITE)


def head_outline(n: Nuisance) -> np.ndarray:
    wide, jaw, chin = between(0.94, 1.03, n.face_width), between(0.6, 0.78, n.jaw), between(1.2, 1.33, n.chin)
    return symmetric(
        (0, -1.22), (-0.62 * wide, -1.08), (-0.96 * wide, -0.55), (-1.0 * wide, 0), (-0.93 * wide, 0.45),
        (-jaw * wide, 0.9), (-0.46 * jaw, chin - 0.07), (0, chin),
    )  # fmt: skip


def draw_head(layer: Layer, n: Nuisance, skin: Colour) -> None:
    """Ears and the bare head; the ear that turns away slides behind it."""
    inner = mix(skin, (150, 40, 40), 0.28)
    for side in (-1, 1):
        x, size = side * 1.0 - 0.3 * layer.pose.yaw, between(0.9, 1.15, n.ears)
        layer.fill(oval(x, 0.14, 0.19 * size, 0.27 * size, 0.15 * side), mix(skin, (190, 70, 60), 0.1))
        layer.fill(oval(x + 0.02 * side, 0.15, 0.1 * size, 0.17 * size, 0.15 * side), inner)
        if n.earrings < 0.2:
            layer.fill(oval(x + 0.02 * side, 0.44, 0.06, 0.06), (240, 200, 96))
    layer.fill(head_outline(n), skin)


def draw_freckles(layer: Layer, n: Nuisance, skin: Colour) -> None:
    if n.freckles < 0.2:
        for x, y in ((-0.62, 0.36), (-0.5, 0.45), (-0.4, 0.36), (-0.28, 0.44), (-0.7, 0.48)):
            layer.both(oval(x, y, 0.026, 0.026), mix(skin, (140, 60, 30), 0.42))


def draw_nose(layer: Layer, n: Nuisance, skin: Colour, light: float) -> None:
    """A nose with its own small shadow on the side away from the light (-1 left to 1 right)."""
    tip, wide = between(0.36, 0.46, n.nose_length), between(0.1, 0.17, n.nose_width)
    dark, side = mix(skin, (120, 40, 50), 0.24), -1 if light > 0 else 1
    layer.fill(
        curve((side * 0.05, 0.02), (side * 0.07, 0.2), (side * wide, tip - 0.03), (0, tip + 0.02), (side * 0.01, 0.2)),
        mix(skin, (130, 50, 60), 0.13),
    )
    layer.fill(oval(0, tip - 0.04, wide * 0.95, 0.085), mix(skin, (235, 110, 90), 0.14))
    layer.fill(oval(-side * 0.035, tip - 0.075, 0.035, 0.03), mix(skin, WHITE, 0.4))
    layer.brush(
        curve((-wide, tip - 0.04), (-wide * 0.7, tip + 0.035), (0, tip + 0.055), (wide * 0.7, tip + 0.035), (wide, tip - 0.04)),
        0.055,
        dark,
    )


def draw_eyes(layer: Layer, n: Nuisance, skin: Colour) -> None:
    spacing, high = between(0.38, 0.47, n.eye_spacing), 0.06
    wide = between(0.185, 0.225, n.eye_size)
    tall = wide * between(0.72, 1.0, n.eye_open)
    gaze, iris = between(-0.05, 0.05, n.gaze), along(IRIS, n.eye_colour)
    top, bottom = [(-wide * 0.6, -tall * 0.8), (0, -tall)], [(-wide * 0.55, tall * 0.72), (0, tall * 0.85)]
    eye = symmetric(top[1], top[0], (-wide, 0.02), bottom[0], bottom[1])
    corner = (wide * 1.12, -0.02 - 0.1 * n.lashes)
    lash = curve((-wide * 0.95, 0.03), top[0], (0, -tall * 1.02), (wide * 0.6, -tall * 0.84), corner)
    for side in (-1, 1):
        x = side * spacing
        layer.fill(moved(eye, x, high), WHITE)
        for radius, colour in ((0.64, mix(iris, INK, 0.35)), (0.54, iris), (0.3, (18, 14, 20))):
            disc = circle() * (wide * radius) + (x + gaze, high - 0.01)
            layer.fill(np.stack([disc[:, 0], disc[:, 1].clip(high - tall * 0.95, high + tall * 0.8)], axis=1), colour)
        layer.fill(oval(x + gaze - 0.05, high - 0.06, 0.042, 0.042), WHITE)
        lid = moved(lash * (side, 1), x, high)
        layer.brush(lid, between(0.06, 0.1, n.lashes), INK, taper=0.8)
        layer.brush(moved(lid[4:-4], 0, -0.085), 0.035, mix(skin, (110, 40, 40), 0.3))


def draw_brows(layer: Layer, n: Nuisance, hair: Colour) -> None:
    spacing, high, tilt = (
        between(0.38, 0.47, n.eye_spacing),
        between(-0.3, -0.39, n.brow_height),
        between(-0.055, 0.025, n.brow_tilt),
    )
    brow = curve((-spacing - 0.25, high + 0.07 - tilt), (-spacing - 0.05, high - 0.03), (-spacing + 0.24, high + 0.05 + tilt))
    for line in (brow, mirrored(brow)):
        layer.brush(line, between(0.08, 0.14, n.brow_weight), hair, taper=0.75)


def draw_glasses(layer: Layer, n: Nuisance, skin: Colour) -> None:
    """Round, square, or winged frames with a glint on the lenses."""
    spacing, size = between(0.4, 0.46, n.eye_spacing), between(0.94, 1.12, n.glasses_size)
    frame = apart(along(FRAMES, n.glasses_colour), skin)
    if n.glasses_style < 0.4:
        rim = oval(-spacing, 0.08, 0.34 * size, 0.33 * size)
    elif n.glasses_style < 0.75:
        rim = curve(
            (-0.72, -0.17),
            (-0.44, -0.2),
            (-0.16, -0.17),
            (-0.11, 0.06),
            (-0.17, 0.3),
            (-0.43, 0.34),
            (-0.69, 0.3),
            (-0.76, 0.06),
            closed=True,
        )
        rim = (rim - (-0.43, 0.08)) * size + (-spacing, 0.08)
    else:
        rim = curve(
            (-0.86, -0.26), (-0.5, -0.18), (-0.14, -0.14), (-0.1, 0.08), (-0.24, 0.32), (-0.5, 0.34), (-0.72, 0.2), closed=True
        )
        rim = (rim - (-0.43, 0.08)) * size + (-spacing, 0.08)
    layer.both(np.array([(-spacing - 0.3 * size, -0.04), (-1.02, -0.06), (-1.02, 0.03), (-spacing - 0.3 * size, 0.06)]), frame)
    layer.fill(curve((-0.15, 0.0), (0, -0.06), (0.15, 0.0), (0.15, 0.09), (0, 0.03), (-0.15, 0.09)), frame)
    middle = rim.mean(0)
    lens = (rim - middle) * (1 - 0.095 / 0.34) + middle
    glint = np.array([(-0.1, -0.16), (-0.02, -0.18), (-0.14, 0.12), (-0.2, 0.1)])
    for side in (1, -1):
        layer.fill(rim * (side, 1), frame)
        layer.fill(lens * (side, 1), (214, 232, 246), 0.26)
        layer.fill(moved(glint, side * middle[0], middle[1]), WHITE, 0.5)
