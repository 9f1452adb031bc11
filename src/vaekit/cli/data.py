"""data check."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import CheckFailed
from .answer import Answer
from .reading import OptionalWhole, opened, parse_size


def check(
    data: str,
    /,
    *,
    attributes: Path | None = None,
    group: str | None = None,
    size: str | None = None,
    crop: str | None = None,
    channels: OptionalWhole = None,
    cache: Path | None = None,
    paths: bool = True,
    strict: Annotated[bool, Parameter(negative=())] = False,
) -> Answer:
    """Decode everything once, and report counts, splits, and every file and row that was left out, with the reason.

    Parameters
    ----------
    data
        What `vaekit train` takes: a folder of pictures, WebDataset tars (a file, a folder, a pattern such as
        'train-{000..009}.tar', an http address), arrays, or a name.
    attributes
        A table beside the pictures.
    group
        A column of the table, or a key of the .json files in tars: equal values stay on one side of the split.
    size
        Pixels: 64, or height x width as 48x64.
    crop
        center, stretch or pad.
    channels
        1, 3 or 4.
    cache
        Where decoded pictures are kept.
    paths
        List every path, or counts only.
    strict
        Exit with code 5 where a picture cannot be used.
    """
    found = opened(data, attributes=attributes, group=group, size=parse_size(size), crop=crop, channels=channels, cache=cache)
    report = found.quarantine.describe() if found.quarantine else {"counts": {}, "lost": 0, "findings": [], "ignored": {}}
    lines = [found.summary()]
    if paths:
        lines += [
            f"{finding['reason']}: {finding['path']}" + (f" ({finding['detail']})" if finding["detail"] else "")
            for finding in report["findings"]
        ]
    splits = {name: len(rows) for name, rows in found.splits.items()}
    return Answer(
        {"pictures": len(found), "image": list(found.image), "splits": splits, "digest": found.digest, **report},
        "\n".join(lines),
        CheckFailed.code if strict and report["lost"] else 0,
    )
