"""How every figure looks: colours, type, and a sheet on which things are placed in page pixels.

A figure is at most 960 page pixels wide (`PAGE`), as in the report; a picture has two pixels to each page pixel. Nothing here
reads or changes matplotlib's global state, so figures can be drawn in any thread and without a display.
"""

from functools import cache
from io import BytesIO

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator, ScalarFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PAGE = 960  # page pixels
DENSITY = 2  # picture pixels per page pixel
MARGIN = 16
LARGE = 400_000  # bytes

INK, MUTED, FAINT, GRID, PAPER = "#1c2128", "#5c6570", "#a9b1ba", "#e6e9ed", "#ffffff"
ACCENT, CONTRAST, UNKNOWN = "#284ba6", "#d98300", "#c9ced5"

# Ten colours whose smallest difference, with and without colour blindness (Machado 2009, three kinds), is 11 in OKLab * 100.
PALETTE = ("#284ba6", "#d98300", "#00857b", "#a271d6", "#b34800", "#3fcbf2", "#4d245d", "#80ae9e", "#7a1e02", "#e3c13a")
MARKERS = ("o", "^", "s", "D", "v", "P")  # for the eleventh class and beyond: the same colours, another shape

SMALL, BODY, HEAD = 8.0, 9.0, 12.0  # points; a point is 1.39 page pixels
FAMILY = "DejaVu Sans"  # shipped with matplotlib
WIDER = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


class Sheet:
    """A figure with a title, on which things are placed in page pixels from the top left corner of what lies under the title."""

    def __init__(self, width: float, height: float, title: str = "", subtitle: str = ""):
        lines = wrapped(subtitle, width, BODY)
        above = (24 if title else 0) + 17 * len(lines) + (12 if title or lines else 0)
        self.left, self.top, self.above = MARGIN, MARGIN + above, above
        self.width, self.height = np.ceil(round(width, 6)) + 2 * MARGIN, np.ceil(round(height, 6)) + 2 * MARGIN + above
        self.figure = Figure(figsize=(self.width / 100, self.height / 100), dpi=100 * DENSITY, facecolor=PAPER)
        if title:
            self.text(0, -above + 8, shortened(title, width, HEAD, "bold"), size=HEAD, weight="bold")
        for i, line in enumerate(lines):
            self.text(0, -above + (24 if title else 0) + 9 + 17 * i, line, color=MUTED)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Empty axes without frame or ticks."""
        bottom = self.height - self.top - y - height
        box = ((self.left + x) / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_facecolor("none")
        axes.set_axis_off()
        return axes

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = BODY,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
        vertical: str = "center_baseline",
        rotation: float = 0,
    ) -> Text:
        """Write one line; names come from users, so nothing in it is ever read as TeX."""
        return self.figure.text(
            (self.left + x) / self.width,
            1 - (self.top + y) / self.height,
            written(text),
            fontsize=size,
            color=color,
            fontweight=weight,
            fontfamily=families(),
            ha=align,
            va=vertical,
            rotation=rotation,
            parse_math=False,
        )

    def mark(self, x: float, y: float, color: str, marker: str) -> None:
        """A point of a legend."""
        at = (self.left + x) / self.width, 1 - (self.top + y) / self.height
        look = {"color": color, "marker": marker, "markersize": 6.5, "markeredgewidth": 0, "linestyle": ""}
        self.figure.add_artist(Line2D([at[0]], [at[1]], transform=self.figure.transFigure, **look))

    def picture(self, x: float, y: float, pixels: np.ndarray) -> None:
        """Place (height, width, 3) uint8 pixels, one to one."""
        height, width = pixels.shape[:2]
        axes = self.axes(round(x * DENSITY) / DENSITY, round(y * DENSITY) / DENSITY, width / DENSITY, height / DENSITY)
        axes.imshow(pixels, interpolation="nearest", aspect="auto", resample=False)
        axes.set_axis_off()


def chart(axes: Axes, xlabel: str = "", ylabel: str = "", *, ticks: int = 5, format_x=None, format_y=None) -> None:
    """Dress axes: a light grid behind the data, muted numbers, no frame."""
    axes.set_axis_on()
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=FAINT, linewidth=0.8)
    for axis, form in ((axes.xaxis, format_x), (axes.yaxis, format_y)):
        axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _, form=form: form(value)) if form else _plain())
        axis.grid(True, color=GRID, linewidth=0.8, linestyle="-", alpha=1)
        axis.set_tick_params(length=0, pad=4, labelsize=SMALL, labelcolor=MUTED, labelfontfamily=FAMILY)
    style = {"fontsize": BODY, "color": INK, "fontfamily": families(), "parse_math": False}
    axes.set_xlabel(written(xlabel), labelpad=5, **style)
    axes.set_ylabel(written(ylabel), labelpad=6, **style)


def _plain() -> ScalarFormatter:
    """Ticks with the same number of decimals and no offset."""
    formatter = ScalarFormatter(useOffset=False, useMathText=False, useLocale=False)
    formatter.set_scientific(False)
    return formatter


def halo(width: float = 2.5) -> list[withStroke]:
    """A white outline that keeps a label readable on top of data."""
    return [withStroke(linewidth=width, foreground=PAPER, alpha=0.9)]


def latent_name(index: int) -> str:
    """What a latent is called in a picture: its column in z, so that `z17` is `z[:, 17]`."""
    return f"z{index}"


def number(value: float, digits: int = 3) -> str:
    """A number as people write it: `1,234`, `0.0832`, `−2`."""
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return text.replace("-", "−")


def count(value: float) -> str:
    """A tick of a count: `500`, `50k`, `1.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def text_width(text: str, size: float = BODY, weight: str = "normal") -> float:
    """The width of a line in page pixels."""
    font = font_manager.FontProperties(family=FAMILY, weight=weight, size=size)
    return text_to_path.get_text_width_height_descent(readable(text, (FAMILY,)), font, ismath=False)[0] / 72 * 100


def shortened(text: str, width: float, size: float = BODY, weight: str = "normal") -> str:
    """The line, cut with an ellipsis where it is wider than `width` page pixels."""
    text = " ".join(text.split())
    if text_width(text, size, weight) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(text[:middle] + "…", size, weight) <= width else (low, middle - 1)
    return text[:low].rstrip() + "…"


def wrapped(text: str, width: float, size: float = BODY) -> list[str]:
    """The text in lines no wider than `width` page pixels."""
    text = " ".join(text.split())
    if not text:
        return []
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [shortened(line, width, size) for line in lines]


@cache
def families() -> tuple[str, ...]:
    """The families to write with: matplotlib's own, then what this machine has for other scripts."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return (FAMILY, *(family for family in WIDER if family in installed))


@cache
def _glyphs(family: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(family)).get_charmap())


def readable(text: str, names: tuple[str, ...]) -> str:
    return "".join(c if any(ord(c) in _glyphs(name) for name in names) else "\N{WHITE SQUARE}" for c in text)


def written(text: str) -> str:
    """The text on one line, with a box for what no installed font can write."""
    return readable(" ".join(str(text).split()), families())


def save_png(picture: Figure | Image.Image, title: str = "") -> bytes:
    """A figure or picture as PNG bytes, two pixels to a page pixel; the same input gives the same bytes."""
    drawn = isinstance(picture, Figure) and not any(axes.images for axes in picture.axes)  # points and lines, no photographs
    if isinstance(picture, Figure):
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = picture if picture.mode in ("L", "P", "RGBA") else picture.convert("RGB")
    if picture.mode == "RGB" and picture.getcolors(256):  # a palette then loses nothing
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    png = _encoded(picture, title)
    if drawn and len(png) > LARGE:  # clouds of many thousand points: 256 colours look the same at a third of the size
        png = _encoded(picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE), title)
    return png


def _encoded(picture: Image.Image, title: str) -> bytes:
    about = PngInfo()
    about.add_text("Software", "vaekit")
    if title:
        about.add_itxt("Title", title)
    file = BytesIO()
    picture.save(file, "PNG", pnginfo=about, compress_level=7)
    return file.getvalue()
