"""Tensors in safetensors files, one at a time: neither writing nor reading ever needs memory for all of them.

https://huggingface.co/docs/safetensors#format
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import DataError
from .files import write_atomic
from .part import Part, build, describe
from .shards import whole

NAMES = {  # of types, in the order in which a file has them: wide ones first, so that each begins where its width divides
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Stored(Mapping[str, Tensor]):
    """The tensors of a file, each read when it is asked for. Raises DataError on a file that is damaged."""

    def __init__(self, path: Path):
        self.file: Any = opened(path)
        self.names = tuple(self.file.keys())
        self.metadata: dict[str, str] = self.file.metadata() or {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def opened(path: Path) -> Any:
    """safetensors opens a file twice, so once more where it was replaced meanwhile."""
    while True:
        before = path.stat()
        try:
            return safe_open(path, framework="pt")
        except (SafetensorError, RuntimeError) as error:
            if path.stat().st_ino == before.st_ino:
                told = f"{path} is damaged ({error}). Restore it from a copy, or train again into another folder."
                raise DataError(told) from error


def ordered(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """As they follow in a file."""
    order = list(NAMES)
    return sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype), item[0]))


def follow(tensors: Mapping[str, Tensor]) -> None:
    """What a process does while another one saves: give its pieces."""
    for _, tensor in ordered(tensors):
        whole(tensor)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file, whole or not at all. Tensors that several processes hold come together one by one: the others `follow`."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, tensor in ordered(tensors):
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered(tensors):
            file.write(bytes_of(whole(tensor)))

    write_atomic(path, write)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and numbers."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {NAMES[tensor.dtype]} {list(tensor.shape)}\n".encode())
        found.update(bytes_of(tensor))
    return found.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def save_part(path: Path, part: Part) -> None:
    """A part with its weights, in one file from which it can be made again."""
    save_tensors(path, part.state_dict(), {"part": json.dumps(describe(part))})


def load_part(path: Path) -> Any:
    """The part of a file that `save_part` wrote, in eval mode and without gradients. Raises DataError on any other file."""
    if not path.is_file():
        raise DataError(f"{path} is no file. Expected a part with its weights (.safetensors).")
    stored = Stored(path)
    if "part" not in stored.metadata:
        raise DataError(f"{path} does not say what its weights belong to. Expected a file that vaekit wrote.")
    part: Part = build(json.loads(stored.metadata["part"]))
    try:
        part.load_state_dict(dict(stored))
    except RuntimeError as error:
        raise DataError(f"{path} has weights of another part than it names. Restore it from a copy.") from error
    return part.eval().requires_grad_(False)
