"""Files that killed writers left behind, on this host and on others; and files that are kept while they are replaced."""

import errno
import os
import subprocess
import sys

import pytest

from vaekit import files
from vaekit.files import DAY, HOST, keep, sweep, write_text


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_a_dead_writer_left_is_swept(tmp_path):
    dead, elsewhere = dead_process(), "0" * 8 if HOST != "0" * 8 else "1" * 8
    (tmp_path / "deep").mkdir()
    names = {
        "mine": f"a.json.tmp-{HOST}-{os.getpid()}",
        "dead": f"deep/a.json.tmp-{HOST}-{dead}",
        "another host's": f"b.json.tmp-{elsewhere}-{dead}",
        "another host's, old": f"c.json.tmp-{elsewhere}-{os.getpid()}",
        "mine, old": f"d.json.tmp-{HOST}-{os.getpid()}",
        "somebody's": "notes.tmp-2024",
    }
    for kind, name in names.items():
        (tmp_path / name).write_text("half")
        if "old" in kind:
            before = (tmp_path / name).stat().st_mtime - 2 * DAY
            os.utime(tmp_path / name, (before, before))
    sweep(tmp_path)
    assert {kind for kind, name in names.items() if not (tmp_path / name).exists()} == {"dead", "another host's, old"}


def test_what_is_being_written_says_who_writes_it(tmp_path):
    seen = []
    files.write_atomic(tmp_path / "a.json", lambda file: seen.extend(path.name for path in tmp_path.iterdir()))
    assert seen == [f"a.json.tmp-{HOST}-{os.getpid()}"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_what_is_kept_stays_when_the_file_is_replaced(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    file, kept = tmp_path / "state", tmp_path / "kept"
    write_text(file, "first")
    keep(file, kept)
    assert file.samefile(kept) is links  # without a copy, where that is possible
    keep(file, kept)  # again, while nothing has changed
    write_text(file, "second")
    assert (kept.read_text(), file.read_text()) == ("first", "second")
    keep(file, kept)
    write_text(file, "third")
    assert (kept.read_text(), file.read_text()) == ("second", "third")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "state"]


def test_what_is_not_there_cannot_be_kept(tmp_path):
    with pytest.raises(FileNotFoundError):
        keep(tmp_path / "state", tmp_path / "kept")
