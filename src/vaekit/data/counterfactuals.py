"""True counterfactuals: the same picture with one attribute changed and all else kept, of data that are drawn by code."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UsageError
from . import drawn_faces, drawn_shapes
from .dataset import Dataset
from .index import Wish
from .sources import face_side, reshaped

SOURCES = ("drawn-faces", "shapes")


def has_counterfactuals(data: Dataset) -> bool:
    return data.description["source"] in SOURCES


def counterfactuals(data: Dataset, rows: Sequence[int] | np.ndarray, attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of these rows with the attribute changed, uint8 (n, C, H, W), and by how much its value changed, (n,).

    What a face has it loses, what it has not it gets; a factor of a shape goes to the mirrored place of its range. Raises
    UsageError for data of which nobody knows the counterfactuals, or that do not have this attribute.
    """
    if not has_counterfactuals(data):
        raise UsageError(
            f"Of {data.name} nobody knows how a picture would look with another {attribute}. Drawn data have such pictures: "
            f"{', '.join(SOURCES)}."
        )
    if attribute not in data.attribute_names or data.attributes is None:
        raise UsageError(f"{data.name} has no attribute {attribute!r}; expected one of {', '.join(data.attribute_names)}.")
    options: dict[str, Any] = {key: value for key, value in data.description.items() if key != "source"}
    wish = Wish(**{**options, "size": tuple(options["size"])})
    column = data.attribute_names.index(attribute)
    if data.description["source"] == "drawn-faces":
        side = face_side(wish)
        drawn = np.stack([drawn_faces.counterfactual(int(row), attribute, size=side) for row in rows])
        return reshaped(drawn, wish), 1 - 2 * data.attributes[rows, column]
    classes = drawn_shapes.factor_classes(data.attributes[rows])
    classes[:, column] = drawn_shapes.FACTOR_SIZES[column] - 1 - classes[:, column]
    changed = drawn_shapes.factor_values(classes)[:, column] - data.attributes[rows, column]
    return reshaped(drawn_shapes.render_shapes(classes), wish), changed
