"""The page is one file, says everything in text, and nothing that a user named can act in it."""

import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from vaekit import draw, report
from vaekit.errors import UsageError
from vaekit.report.page import written
from vaekit.report.story import figures_of

EVIL = "\"><script>alert('x')</script><img src=https://evil.example/a.png onerror=alert(1)>{{ 7*7 }}.jpg"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The elements of a page, with every tag closed in its place."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture() -> bytes:
    return draw.save_png(draw.samples(np.zeros((2, 1, 8, 8), np.uint8), "two"))


def moving() -> bytes:
    file = BytesIO()
    frames = draw.animate(np.eye(8).reshape(1, 1, 8, 8).repeat(2, 0) * [[[[0]]], [[[1]]]])
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


def page(word: str = "digits") -> str:
    figure = report.FigureOnPage(word, picture(), word, word)
    table = report.Table((word, "N", "norm"), ((word, 1200, 1.25), (word, 3, -0.5)), word)
    return report.write_page(
        word,
        word,
        [report.Fact(word, -89.0812, "nats per image", word), report.Fact("Images", 60000), report.Fact(word, word, word)],
        [
            report.Section(
                word,
                word,
                [figure, figure._replace(picture=moving())],
                table,
                [report.Details(word, word, table, {word: [word]})],
            ),
            report.Section(word),
            report.Section("Empty"),
        ],
        command=word,
        versions={word: word},
        description={word: {word: 1}},
        notes=[word],
    )


@pytest.mark.parametrize("word", ["digits", EVIL])
def test_page_is_self_contained(word):
    parsed = Page(page(word))
    assert not parsed.all("script")
    assert not parsed.all("link")
    assert len(parsed.all("img")) == 2
    for _, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action", "poster"):
            where = attributes.get(name)
            assert where is None or where.startswith("#") or urlparse(where).scheme == "data", where
    style = re.search(r"<style>(.*?)</style>", page(word), re.S)
    assert style is not None
    assert "@import" not in style[1]
    assert "url(" not in style[1]


def test_hostile_names_are_shown_as_text():
    html = page(EVIL)
    assert "<script" not in html
    assert EVIL in Page(html).text
    assert [tag for tag, _ in Page(html).elements] == [tag for tag, _ in Page(page()).elements], "names add no element"


def test_page_can_be_read_without_seeing_it():
    parsed = Page(page())
    assert parsed.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in parsed.all("img"))
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert all(link["href"].removeprefix("#") in names for link in parsed.all("a"))
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.all("th"))


def test_facts_carry_unit_and_note():
    text = " ".join(Page(page()).text.split())
    for words in ("−89.08", "nats per image", "60,000", "1,200", "−0.5", "Figure 1", "Figure 2"):
        assert words in text


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ({"value": 21_534.23, "interval": [21_533.9, 21_534.6]}, ("21,534.23", "21,533.90 to 21,534.60")),
        ({"value": -89.0812, "interval": [-90.1, -88.0]}, ("−89.1", "−90.1 to −88.0")),
        ({"value": 0.07123, "interval": [0.07, 0.0724]}, ("0.0712", "0.0700 to 0.0724")),
        ({"value": 4000.0, "interval": [3000.0, 5000.0]}, ("4,000", "3,000 to 5,000")),
        ({"value": 9999.97}, ("10,000", "")),
        ({"value": 0.5, "interval": [0.5, 0.5]}, ("0.5", "")),
        ({"value": 60_000}, ("60,000", "")),
    ],
)
def test_a_figure_and_its_interval_have_the_decimals_that_the_interval_leaves(metric, told):
    value, interval = figures_of(metric)
    assert (written(value), interval) == told


def test_pictures_have_their_size_and_their_bytes():
    sent = Page(page()).all("img")[0]
    with Image.open(BytesIO(picture())) as image:
        assert (int(sent["width"] or 0), int(sent["height"] or 0)) == (-(-image.width // 2), -(-image.height // 2))
    assert (sent["src"] or "").startswith("data:image/png;base64,")


def test_on_a_phone_figures_are_whole_and_a_tap_enlarges_them(tmp_path):
    (tmp_path / "report.html").write_text(page())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).new_page()
        phone.goto((tmp_path / "report.html").as_uri())
        card = phone.locator(".card").first
        assert card.evaluate("card => [card.clientWidth, card.scrollWidth]") == [390, 390]
        expect(phone.locator(".enlarge")).to_be_visible()
        card.tap()
        assert card.evaluate("card => card.scrollWidth") > 390
        wide = browser.new_page(viewport={"width": 1000, "height": 800})
        wide.goto((tmp_path / "report.html").as_uri())
        expect(wide.locator(".enlarge")).to_be_hidden()
        browser.close()


def test_same_input_same_page():
    assert page() == page()


def test_an_empty_run_still_has_a_page():
    parsed = Page(report.write_page("Nothing yet", "", [], []))
    assert "Nothing yet" in parsed.text
    assert not parsed.all("nav")


def test_what_is_no_picture_is_refused():
    figure = report.FigureOnPage("morph", b"<svg onload=alert(1)>", "", "")
    with pytest.raises(UsageError, match="morph"):
        report.write_page("t", "", [], [report.Section("s", figures=[figure])])


def contrast(a: str, b: str) -> float:
    """WCAG 2.2: relative luminance of the lighter to the darker."""
    light = []
    for color in (a, b):
        rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        light.append(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(light) / min(light)


def test_text_has_contrast_by_day_and_by_night():
    schemes = re.findall(r":root \{(.*?)\}", page(), re.S)[:2]
    assert len(schemes) == 2
    for scheme in schemes:
        color = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "tint"):
                assert contrast(color[text], color[ground]) >= 4.5, (text, ground)
