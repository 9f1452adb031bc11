"""Drawn data: the factor grid of shapes, and faces with exact attributes and true counterfactuals."""

import numpy as np
import pytest

from vaekit.data.drawn_faces import ATTRIBUTES, PAIRS, RATES, counterfactual, describe_face, draw_face, draw_faces
from vaekit.data.drawn_shapes import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    FACTOR_VALUES,
    GRID,
    draw_shapes,
    factor_classes,
    factor_values,
    render_shape,
    render_shapes,
)
from vaekit.errors import UsageError

SQUARE, ELLIPSE, HEART = range(3)


def centroid(picture: np.ndarray) -> tuple[float, float]:
    """Of one shape (1, S, S), in pixels: x, y."""
    mass, middles = picture[0].astype(float), np.arange(picture.shape[-1]) + 0.5
    return float((mass.sum(0) * middles).sum() / mass.sum()), float((mass.sum(1) * middles).sum() / mass.sum())


def area(picture: np.ndarray) -> float:
    return float(picture.sum()) / 255


def test_shapes_are_the_grid_of_dsprites():
    assert GRID == 737_280 == np.prod(FACTOR_SIZES)
    assert [len(values) for values in FACTOR_VALUES] == list(FACTOR_SIZES)
    pixels, factors, names = draw_shapes(300)
    assert pixels.shape == (300, 1, 64, 64)
    assert pixels.dtype == np.uint8
    assert factors.shape == (300, 5)
    assert factors.dtype == np.float32
    assert names == FACTOR_NAMES == ("shape", "scale", "orientation", "x", "y")
    assert len(np.unique(factor_classes(factors), axis=0)) == 300  # without replacement


def test_shapes_show_what_their_factors_say():
    pixels, factors, _ = draw_shapes(64, seed=3)
    classes = factor_classes(factors)
    assert np.array_equal(render_shapes(classes), pixels)
    assert np.array_equal(render_shape(classes[5]), pixels[5])
    assert np.array_equal(factor_values(classes), factors)


def test_a_smaller_draw_of_shapes_is_a_prefix_of_a_larger_one():
    few, many = draw_shapes(10, seed=1), draw_shapes(900, seed=1)
    assert np.array_equal(few[0], many[0][:10])
    assert np.array_equal(few[1], many[1][:10])
    assert not np.array_equal(draw_shapes(10, seed=2)[1], few[1])


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
@pytest.mark.parametrize("orientation", [0, 7, 23])
def test_the_centroid_follows_x_and_y(shape, orientation):
    for x, y in ((0, 0), (31, 31), (4, 27)):
        assert centroid(render_shape([shape, 5, orientation, x, y])) == pytest.approx((16.5 + x, 16.5 + y), abs=0.1)


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_the_area_follows_the_square_of_the_scale(shape):
    areas = [area(render_shape([shape, scale, 3, 16, 16])) for scale in range(6)]
    expected = areas[-1] * FACTOR_VALUES[1] ** 2
    assert areas == pytest.approx(expected, rel=0.03)


def test_orientation_turns_a_shape_and_respects_its_symmetry():
    def drawn(shape, orientation):
        return render_shape([shape, 5, orientation, 10, 20]).astype(int)

    assert abs(drawn(SQUARE, 3) - drawn(SQUARE, 13)).max() <= 1
    assert abs(drawn(ELLIPSE, 3) - drawn(ELLIPSE, 23)).max() <= 1
    assert abs(drawn(SQUARE, 3) - drawn(SQUARE, 8)).max() > 100
    assert abs(drawn(ELLIPSE, 3) - drawn(ELLIPSE, 13)).max() > 100
    hearts = [drawn(HEART, orientation) for orientation in range(40)]
    assert min(abs(a - b).max() for i, a in enumerate(hearts) for b in hearts[:i]) > 100
    quarter = np.rot90(hearts[0], -1, axes=(1, 2))  # 10 steps of 9 degrees, clockwise; the place is another
    assert sorted(quarter.ravel()) == pytest.approx(sorted(hearts[10].ravel()), abs=1)


@pytest.mark.parametrize("size", [24, 29, 33, 128])
def test_shapes_of_any_size_stay_inside(size):
    pixels = render_shapes(
        np.array([[s, 5, o, x, y] for s in range(3) for o in (0, 5) for x in (0, 31) for y in (0, 31)]), size=size
    )
    assert pixels.shape[1:] == (1, size, size)
    assert not pixels[..., [0, -1], :].any()
    assert not pixels[..., [0, -1]].any()
    assert pixels.max() == 255


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: draw_shapes(0), "0 pictures"),
        (lambda: draw_shapes(GRID + 1), "737,280"),
        (lambda: draw_shapes(3, seed=-1), "seed is -1"),
        (lambda: draw_shapes(3, size=8), "size is 8"),
        (lambda: render_shape([3, 0, 0, 0, 0]), "not on the grid"),
        (lambda: render_shape([0.5, 0, 0, 0, 0]), "integers"),
        (lambda: factor_classes(np.zeros((4, 3))), r"\(4, 3\)"),
    ],
)
def test_wrong_shapes_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        wrong()


def test_faces_come_with_their_attributes():
    pixels, attributes, names = draw_faces(12)
    assert pixels.shape == (12, 3, 64, 64)
    assert pixels.dtype == np.uint8
    assert attributes.shape == (12, len(names))
    assert attributes.dtype == np.float32
    assert set(np.unique(attributes)) == {0, 1}
    assert names == ATTRIBUTES
    assert {"Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat", "Beard", "Mouth_Open"} <= set(names)
    assert len({picture.tobytes() for picture in pixels}) == 12


def test_a_face_depends_on_its_number_and_seed_alone():
    few, many = draw_faces(4, seed=7), draw_faces(9, seed=7)
    assert np.array_equal(few[0], many[0][:4])
    assert np.array_equal(few[1], many[1][:4])
    assert np.array_equal(draw_face(describe_face(3, seed=7)), few[0][3])
    assert not np.array_equal(draw_faces(4, seed=8)[0], few[0])


@pytest.mark.parametrize("size", [16, 32, 64, 96, 128])
def test_faces_of_any_size_are_the_same_picture(size):
    large = draw_face(describe_face(5), size=192).astype(float)
    small = draw_face(describe_face(5), size=size).astype(float)
    assert small.shape == (3, size, size)
    blocks = small.reshape(3, 8, size // 8, 8, size // 8).mean((2, 4)) - large.reshape(3, 8, 24, 8, 24).mean((2, 4))
    assert abs(blocks).mean() < 3


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_flip_changes_the_picture_and_no_other_attribute(attribute):
    hair = [name for name in ATTRIBUTES if name.endswith("_Hair")]
    for image_id in range(40):
        face = describe_face(image_id)
        other = face.flipped(attribute)
        changed = {name for name in ATTRIBUTES if face.has(name) != other.has(name)}
        assert attribute in changed
        assert changed == {attribute} if attribute not in hair else len(changed) == 2 and changed <= set(hair)
        assert sum(other.has(name) for name in hair) == 1
        assert other.nuisance == face.nuisance
    picture = draw_face(face)
    assert np.array_equal(counterfactual(39, attribute), draw_face(other))
    assert abs(draw_face(other).astype(int) - picture).max() > 40
    assert np.array_equal(draw_face(other.flipped(attribute)), picture)


@pytest.mark.parametrize(
    ("attribute", "top", "bottom", "most"),
    [
        ("Smiling", 0.5, 1, 0.16),
        ("Mouth_Open", 0.5, 1, 0.12),
        ("Eyeglasses", 0.25, 0.85, 0.35),
        ("Beard", 0.45, 1, 0.3),
        ("Wearing_Hat", 0, 0.7, 0.6),
    ],
)
def test_a_flip_stays_in_its_region(attribute, top, bottom, most):
    """Rows as fractions of the picture; `most` is the share of pixels that may change."""
    for image_id in range(60):
        changed = (draw_face(describe_face(image_id)) != counterfactual(image_id, attribute)).any(0)
        rows = np.flatnonzero(changed.any(1)) / 64
        assert top <= rows.min() < rows.max() <= bottom, image_id
        assert changed.mean() < most, image_id


def test_a_smile_can_be_seen_on_every_face():
    for image_id in range(150):
        difference = abs(counterfactual(image_id, "Smiling").astype(int) - draw_face(describe_face(image_id)))
        assert (difference.max(0) > 24).sum() >= 20, image_id  # pixels that differ clearly, of 4096


def attribute_table(count: int, **options) -> dict[str, np.ndarray]:
    table = np.stack([describe_face(image_id, **options).attributes for image_id in range(count)])
    return dict(zip(ATTRIBUTES, table.T, strict=True))


def test_attributes_have_their_rates_and_are_independent():
    table = attribute_table(4000)
    for name, column in table.items():
        assert column.mean() == pytest.approx(RATES[name], abs=0.03)
    kept = [name for name in ATTRIBUTES if not name.endswith("_Hair") or name == "Blond_Hair"]
    matrix = np.corrcoef([table[name] for name in kept])
    assert abs(matrix - np.eye(len(kept))).max() < 0.06
    hair = sum(column for name, column in table.items() if name.endswith("_Hair"))
    assert np.all(hair == 1)


def test_correlation_confounds_its_pairs_and_nothing_else():
    free, bound = attribute_table(4000), attribute_table(4000, correlation=0.6)
    for first, second in PAIRS:
        assert np.corrcoef(bound[first], bound[second])[0, 1] == pytest.approx(0.6, abs=0.05)
        assert np.array_equal(bound[first], free[first])
        assert bound[second].mean() == pytest.approx(RATES[second], abs=0.03)
    assert abs(np.corrcoef(bound["Smiling"], bound["Eyeglasses"])[0, 1]) < 0.06
    assert describe_face(17, correlation=0.6).nuisance == describe_face(17).nuisance


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: draw_faces(0), "0 pictures"),
        (lambda: draw_faces(2, size=8), "size is 8"),
        (lambda: draw_faces(2, seed=-1), "seed -1"),
        (lambda: draw_faces(2, correlation=1.0), "correlation is 1.0"),
        (lambda: draw_faces(2, correlation=-0.5), "correlation is -0.5"),
        (lambda: counterfactual(0, "Smilling"), "no attribute 'Smilling'"),
        (lambda: counterfactual(-1, "Smiling"), "image -1"),
    ],
)
def test_wrong_faces_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        wrong()
