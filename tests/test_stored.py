"""Files of tensors are read while somebody else writes them."""

import threading

import pytest
import torch

from vaekit.errors import DataError
from vaekit.stored import Stored, save_tensors


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(tmp_path):
    path, over = tmp_path / "x.safetensors", threading.Event()

    def write() -> None:
        for number in range(100_000):
            if over.is_set():
                return
            save_tensors(path, {"x": torch.zeros(1000 + number % 7)}, {"number": "1" * (number % 5)})

    save_tensors(path, {"x": torch.zeros(1000)}, {})
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(1500):
            stored = Stored(path)
            assert not stored["x"].any()
    finally:
        over.set()
        writer.join()


def test_a_file_that_is_damaged_is_told_so(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"x": torch.zeros(1000)}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="damaged"):
        Stored(path)
