"""Drawn faces: pictures whose attributes are known exactly and whose true counterfactuals exist.

No real picture shows the same face with and without a smile, so an edit of a real picture can only be judged by eye or by another
model. Here `counterfactual` draws the answer. The numbers of a face come from its own generator, seeded by (seed, image_id), and
are drawn before any attribute is looked at: a flipped attribute moves nothing else, and no picture depends on how many are drawn.
"""

import math
from functools import cache

import numpy as np

from vaekit.errors import UsageError

from .face import parts
from .face.canvas import Colour, Layer, Pose, along, apart, between, cast, lit, mix, over
from .face.hair import draw_hair, hair_tones
from .face.hats import draw_hat, press_hair
from .face.mouth import draw_beard, draw_mouth
from .face.traits import ATTRIBUTES, PAIRS, RATES, Face, Nuisance, describe_face

__all__ = ["ATTRIBUTES", "PAIRS", "RATES", "Face", "counterfactual", "describe_face", "draw_face", "draw_faces"]

SMALLEST = 16

BACKGROUNDS: tuple[Colour, ...] = (
    (246, 214, 186),
    (246, 190, 180),
    (226, 184, 206),
    (190, 184, 226),
    (168, 202, 232),
    (164, 216, 214),
    (182, 218, 180),
    (236, 226, 166),
    (246, 214, 186),
)
ROSE = np.array([0.06, -0.26, -0.16], np.float32)[:, None, None]


def draw_faces(
    count: int, *, size: int = 64, seed: int = 0, correlation: float = 0.0
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw the faces 0 to count - 1: pixels (N, 3, size, size) uint8, attributes (N, A) float32 of 0 and 1, and their A names.

    `correlation` confounds the attributes of each of PAIRS (see `describe_face`); nothing else changes. Raises UsageError for a
    count below 1, a size below 16, a negative seed or a correlation outside [0, 1).
    """
    if count < 1:
        raise UsageError(f"drawn-faces: {count} pictures were asked for; at least one was expected; give 1 or more.")
    check_size(size)
    pixels = np.empty((count, 3, size, size), np.uint8)
    attributes = np.empty((count, len(ATTRIBUTES)), np.float32)
    for image_id in range(count):
        face = describe_face(image_id, seed=seed, correlation=correlation)
        pixels[image_id], attributes[image_id] = draw_face(face, size=size), face.attributes
    return pixels, attributes, ATTRIBUTES


def counterfactual(image_id: int, attribute: str, *, size: int = 64, seed: int = 0, correlation: float = 0.0) -> np.ndarray:
    """The picture (3, size, size) uint8 of face `image_id` with one attribute flipped and all else kept.

    A hair colour that is turned on replaces the old one; one that is turned off gives way to the face's other hair colour.
    Raises UsageError for an unknown attribute and as `draw_faces`.
    """
    return draw_face(describe_face(image_id, seed=seed, correlation=correlation).flipped(attribute), size=size)


def draw_face(face: Face, *, size: int = 64) -> np.ndarray:
    """The picture (3, size, size) uint8 of one face."""
    check_size(size)
    n = face.nuisance
    head, body = head_pose(n), body_pose(n)
    angle = between(-1.0, 1.0, n.light_angle)
    right, up = math.sin(angle), math.cos(angle)  # towards the light
    skin, tones = parts.skin_colour(n), hair_tones(face.hair, n)
    light, gloss = head_light(head, size, right, up, n.light_strength)

    hair_behind, hair_before, torso, face_sheet, glasses, hat = (
        Layer(size, pose) for pose in (head, head, body, head, head, head)
    )
    draw_hair(hair_behind, hair_before, n, tones)
    parts.draw_body(torso, n, skin)
    draw_bare_face(face_sheet, face, skin, tones.dark, right)
    if face.has("Eyeglasses"):
        parts.draw_glasses(glasses, n, skin)
    if face.has("Wearing_Hat"):
        press_hair(hair_behind)
        press_hair(hair_before)
        draw_hat(hat, n)

    bare, hair, crown = face_sheet.pixels(), hair_before.pixels(), hat.pixels()
    blush(bare, n, head, smiling=face.has("Smiling"))
    picture = background(n, size)
    picture = over(picture, lit(hair_behind.pixels(), light - 0.22))
    picture = over(picture, lit(torso.pixels(), 0.9 - 0.75 * cast(bare, -0.03 * right, 0.07, 0.02)))
    picture = over(picture, lit(bare, light - 0.5 * cast(over(hair, crown), -0.025 * right, 0.045, 0.014)))
    picture = over(picture, lit(hair, light - 0.6 * cast(crown, -0.02 * right, 0.035, 0.014), gloss))
    picture = over(picture, glasses.pixels())
    picture = over(picture, lit(crown, light, 0.3 * gloss))
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def head_pose(n: Nuisance) -> Pose:
    return Pose(
        x=0.5 + between(-0.03, 0.03, n.x),
        y=0.54 + between(-0.025, 0.025, n.y),
        unit=between(0.225, 0.255, n.zoom),
        roll=between(-0.17, 0.17, n.roll),
        yaw=between(-0.3, 0.3, n.yaw),
        pitch=between(-0.08, 0.09, n.pitch),
    )


def body_pose(n: Nuisance) -> Pose:
    """The shoulders stay level under the chin, wherever the head leans."""
    head = head_pose(n)
    return Pose(x=head.x - 0.7 * head.unit * math.sin(head.roll), y=head.y, unit=head.unit, roll=0.2 * head.roll)


def draw_bare_face(layer: Layer, face: Face, skin: Colour, hair: Colour, light: float) -> None:
    n = face.nuisance
    parts.draw_head(layer, n, skin)
    parts.draw_freckles(layer, n, skin)
    if face.has("Beard"):
        draw_beard(layer, n, apart(hair, skin))
    parts.draw_nose(layer, n, skin, light)
    draw_mouth(layer, n, skin, smiling=face.has("Smiling"), opened=face.has("Mouth_Open"), bearded=face.has("Beard"))
    parts.draw_eyes(layer, n, skin)
    parts.draw_brows(layer, n, mix(hair, (40, 20, 30), 0.25))


def background(n: Nuisance, size: int) -> np.ndarray:
    """A soft gradient (3, S, S) between two neighbouring pastels, with a paler disc behind the head."""
    first, second = along(BACKGROUNDS, n.background), along(BACKGROUNDS, (n.background + 0.12) % 1)
    deep = mix(first, (40, 44, 84), between(0.0, 0.42, n.background_tone))
    pale = mix(second, (255, 255, 255), 0.35 * (1 - n.background_tone))
    turn = 2 * math.pi * n.background_angle
    x, y = ramp(size)
    blend = (0.5 + 0.7 * (x * math.cos(turn) + y * math.sin(turn))).clip(0, 1)
    disc = 0.18 * np.clip(0.5 - size * (np.hypot(x, y - 0.03) - between(0.3, 0.46, n.halo)), 0, 1)
    return np.stack([(a + (b - a) * blend) * (1 - disc) + 255 * disc for a, b in zip(deep, pale, strict=True)]) / np.float32(255)


@cache
def ramp(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels' centres from the middle of the picture, in pictures: x (1, S), y (S, 1)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return line[None, :], line[:, None]


def head_light(pose: Pose, size: int, right: float, up: float, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Light and gloss (S, S) of a head-sized ball lit from (right, up)."""
    x, y = pose.grid(size)
    toward = (x * right / 1.1 - y * up / 1.3).astype(np.float32)
    edge = np.minimum((x / 1.25) ** 2 + (y / 1.5) ** 2, 1.5)
    light = 0.66 + between(0.22, 0.5, strength) * toward - 0.2 * edge * edge
    spot = np.maximum(1 - ((x - 0.5 * right) / 0.95) ** 2 - ((y + 1.0 * up) / 0.42) ** 2, 0)
    return light.clip(0.15, 1), (0.17 * spot * spot).astype(np.float32)


def blush(bare: np.ndarray, n: Nuisance, pose: Pose, *, smiling: bool) -> None:
    """Rosy cheeks, rosier in a smile; changes the sheet in place."""
    amount = between(0.1, 0.4, n.blush) + (0.44 if smiling else 0)
    x, y = ramp(bare.shape[-1])
    glow = np.zeros(bare.shape[1:], np.float32)
    for cheek_x, cheek_y in pose.place(np.array([(-0.62, 0.46), (0.62, 0.46)])).tolist():
        near = ((x + 0.5 - cheek_x) / (0.3 * pose.unit)) ** 2 + ((y + 0.5 - cheek_y) / (0.24 * pose.unit)) ** 2
        glow += np.maximum(1 - near, 0) ** 2
    bare[:3] *= 1 + amount * ROSE * glow
    np.minimum(bare[:3], bare[3], out=bare[:3])


def check_size(size: int) -> None:
    if size < SMALLEST:
        raise UsageError(
            f"drawn-faces: the size is {size} pixels; {SMALLEST} or more was expected; 32, 64, 96 and 128 work well."
        )
