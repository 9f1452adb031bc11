"""What the doctor says."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that is not as it should be."""

    name: str
    measured: str
    normal: str
    cause: str
    mend: str


class Sign(NamedTuple):
    """A vital sign: a number, its unit ("" where it has none), and over how many pictures it was taken."""

    value: float
    unit: str
    count: int
