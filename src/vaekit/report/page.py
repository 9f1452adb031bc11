"""The report page: what is on it, and how that becomes one self-contained file."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, UnidentifiedImageError

from ..errors import UsageError

MIME = {"PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}


class Digits(NamedTuple):
    """A number that is written with so many decimals."""

    value: float
    decimals: int


class Fact(NamedTuple):
    """A headline number: what it is, its value and unit, and in the note how it was measured (N, split, interval)."""

    name: str
    value: str | float | Digits
    unit: str = ""
    note: str = ""


class FigureOnPage(NamedTuple):
    """A picture (PNG at two pixels to a page pixel, or an animated GIF or WebP), its caption, and the same in words."""

    name: str
    picture: bytes
    caption: str
    alt: str


class Table(NamedTuple):
    """Rows of cells under heads; numbers are written with four digits and set to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | float | Digits]]
    caption: str = ""


class Details(NamedTuple):
    """What a reader in a hurry skips: folded text, a table, or plain data (shown as JSON)."""

    summary: str
    text: str = ""
    table: Table | None = None
    data: Mapping[str, Any] | None = None


class Section(NamedTuple):
    """A heading, the finding in a sentence or two, and the pictures and numbers behind it."""

    title: str
    lead: str = ""
    figures: Sequence[FigureOnPage] = ()
    table: Table | None = None
    details: Sequence[Details] = ()


def write_page(
    title: str,
    subtitle: str,
    facts: Iterable[Fact],
    sections: Iterable[Section],
    *,
    command: str = "",
    versions: Mapping[str, str] | None = None,
    description: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    lang: str = "en",
) -> str:
    """The page as HTML: headline facts, notes that a reader must not miss, sections, and at its foot how to make it again.

    Everything is text and is escaped; pictures and styles are inline; there is no script and nothing is fetched.
    Raises UsageError for a picture that is not PNG, GIF or WebP.
    """
    number = count(1)
    chapters = []
    for i, section in enumerate(sections, 1):
        figures = [_embedded(figure, next(number)) for figure in section.figures]
        chapters.append({**section._asdict(), "figures": figures, "anchor": f"{i}-{_slug(section.title)}"})
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            facts=list(facts),
            sections=chapters,
            command=command,
            versions=versions or {},
            description=description,
            notes=notes,
            lang=lang,
        )
    )


def _embedded(figure: FigureOnPage, number: int) -> dict[str, Any]:
    try:
        with Image.open(BytesIO(figure.picture), formats=list(MIME)) as image:
            kind, (width, height) = str(image.format), image.size
    except UnidentifiedImageError as error:
        raise UsageError(
            f"The figure {figure.name!r} starts with the bytes {figure.picture[:8]!r}. "
            "Expected a PNG, GIF or WebP file. Make it with save_png or save_animation."
        ) from error
    shrink = 2 if kind == "PNG" else 1
    return {
        **figure._asdict(),
        "number": number,
        "source": f"data:{MIME[kind]};base64,{b64encode(figure.picture).decode()}",
        "width": -(-width // shrink),
        "height": -(-height // shrink),
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "written": written,
        "as_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
    }
    environment.tests["numeric"] = _is_number
    return environment


def written(value: object) -> str:
    """A number in four digits, or with the decimals that it asks for, with a true minus; anything else as it is."""
    if not _is_number(value):
        return str(value)
    if isinstance(value, Digits):
        text = f"{value.value:,.{value.decimals}f}"
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e3 else f"{value:.4g}"
    return text.replace("-", "−")


def _is_number(value: object) -> TypeGuard[float | Digits]:
    return isinstance(value, (int, float, Digits)) and not isinstance(value, bool)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
