"""What a drawn face is: ten attributes, known exactly, and the nuisances that a model has to explain without being told."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from vaekit.errors import UsageError

ATTRIBUTES = (
    "Smiling",
    "Eyeglasses",
    "Wearing_Hat",
    "Beard",
    "Mouth_Open",
    "Blond_Hair",
    "Black_Hair",
    "Brown_Hair",
    "Gray_Hair",
    "Red_Hair",
)
SWITCHES = ATTRIBUTES[:5]
HAIR_COLOURS = ATTRIBUTES[5:]  # exactly one is on

RATES: dict[str, float] = dict(zip(ATTRIBUTES, (0.5, 0.4, 0.4, 0.4, 0.5, 0.4, 0.2, 0.2, 0.1, 0.1), strict=True))
PAIRS = (("Smiling", "Mouth_Open"), ("Wearing_Hat", "Beard"), ("Blond_Hair", "Eyeglasses"))  # equal rates within each

COINS = 16  # uniform numbers kept for attributes, before those of the nuisances


@dataclass(frozen=True)
class Nuisance:
    """Everything about a face that is not an attribute: independent numbers in [0, 1).

    A new field goes at the end, so that old faces keep their look.
    """

    x: float
    y: float
    zoom: float
    roll: float
    yaw: float
    pitch: float
    skin: float
    warmth: float
    face_width: float
    jaw: float
    chin: float
    ears: float
    eye_spacing: float
    eye_size: float
    eye_open: float
    eye_colour: float
    gaze: float
    lashes: float
    brow_height: float
    brow_tilt: float
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    mouth_strength: float
    lips: float
    lip_colour: float
    blush: float
    freckles: float
    hair_style: float
    hair_tone: float
    hair_volume: float
    hair_length: float
    hair_side: float
    beard_style: float
    beard_length: float
    glasses_style: float
    glasses_size: float
    glasses_colour: float
    hat_style: float
    hat_colour: float
    hat_height: float
    clothes_style: float
    clothes_colour: float
    earrings: float
    background: float
    background_tone: float
    background_angle: float
    halo: float
    light_angle: float
    light_strength: float


@dataclass(frozen=True)
class Face:
    """One face: which of SWITCHES are on, its hair colour, the colour it has when that one is turned off, and its nuisances."""

    switches: frozenset[str]
    hair: str
    other_hair: str
    nuisance: Nuisance

    def has(self, attribute: str) -> bool:
        return attribute in self.switches or attribute == self.hair

    @property
    def attributes(self) -> np.ndarray:
        """(A,) float32 of 0 and 1, in the order of ATTRIBUTES."""
        return np.array([self.has(name) for name in ATTRIBUTES], np.float32)

    def flipped(self, attribute: str) -> Self:
        """The same face with one attribute turned on or off; flipping twice gives the first picture again.

        Hair has one colour: turning a colour on turns the old one off, turning it off gives the face its `other_hair`.
        Raises UsageError for an unknown attribute.
        """
        if attribute in SWITCHES:
            return replace(self, switches=self.switches ^ {attribute})
        if attribute not in HAIR_COLOURS:
            raise UsageError(
                f"drawn-faces: there is no attribute {attribute!r}; expected one of {', '.join(ATTRIBUTES)}; give one of these."
            )
        hair = self.other_hair if attribute == self.hair else attribute
        return replace(self, hair=hair, other_hair=self.hair)


def describe_face(image_id: int, *, seed: int = 0, correlation: float = 0.0) -> Face:
    """The face with this number, from (seed, image_id) alone; `correlation` can change its attributes, never its nuisances.

    Each attribute is on with its probability in RATES. With correlation c, the second attribute of each of PAIRS repeats the
    first with probability c and is drawn by itself otherwise: the rates stay and Pearson's correlation of the two is exactly c.
    Raises UsageError for a negative number or seed, or a correlation outside [0, 1).
    """
    if image_id < 0 or seed < 0:
        raise UsageError(f"drawn-faces: image {image_id} of seed {seed} was asked for; neither may be negative; give 0 or more.")
    if not 0 <= correlation < 1:
        raise UsageError(
            f"drawn-faces: the correlation is {correlation}; a number in [0, 1) was expected; 0 makes attributes independent."
        )
    numbers = np.random.default_rng((seed, image_id)).random(COINS + len(fields(Nuisance))).tolist()
    hair, other_hair = draw_hair(numbers[0], numbers[1])
    coins, repeats = numbers[2:7], numbers[7:10]
    on = {name for name, coin in zip(SWITCHES, coins, strict=True) if coin < RATES[name]}
    for (first, second), repeat in zip(PAIRS, repeats, strict=True):
        if repeat < correlation:
            on = on | {second} if first in on or first == hair else on - {second}
    return Face(frozenset(on), hair, other_hair, Nuisance(*numbers[COINS:]))


def draw_hair(first: float, second: float) -> tuple[str, str]:
    """Two different hair colours from two uniform numbers, by RATES."""
    hair = pick(HAIR_COLOURS, first)
    rest = tuple(name for name in HAIR_COLOURS if name != hair)
    return hair, pick(rest, second)


def pick(names: tuple[str, ...], u: float) -> str:
    bounds = np.cumsum([RATES[name] for name in names])
    return names[min(int(np.searchsorted(bounds, u * bounds[-1], side="right")), len(names) - 1)]
