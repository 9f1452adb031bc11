"""Hair: one path of colours for each hair attribute, and twelve styles that draw on a sheet behind the head and one before it."""

from . import hair_long as long
from . import hair_short as short
from .canvas import Colour, Layer, along, mix
from .hair_pieces import Tones
from .traits import Nuisance

COLOURS: dict[str, tuple[Colour, ...]] = {
    "Blond_Hair": ((250, 226, 150), (244, 206, 112), (228, 178, 84)),
    "Black_Hair": ((30, 28, 40), (42, 34, 42), (54, 44, 54)),
    "Brown_Hair": ((82, 50, 34), (112, 70, 42), (142, 92, 56)),
    "Gray_Hair": ((150, 154, 166), (184, 188, 198), (218, 220, 226)),
    "Red_Hair": ((158, 56, 30), (188, 76, 34), (212, 100, 46)),
}
STYLES = (
    *(short.crop, short.buzz, short.quiff, short.spiky, short.curly, short.afro),
    *(long.bob, long.straight, long.wavy, long.bun, long.tails, long.braids),
)


def hair_tones(colour: str, n: Nuisance) -> Tones:
    base = along(COLOURS[colour], n.hair_tone)
    return Tones(base, mix(base, (40, 10, 30), 0.26), mix(base, (255, 240, 214), 0.22))


def draw_hair(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    STYLES[int(n.hair_style * len(STYLES))](back, front, n, tones)
