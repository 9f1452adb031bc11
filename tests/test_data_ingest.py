import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import encoded, folder_of, scene
from vaekit.data import open_data, worker
from vaekit.data import pool as pools
from vaekit.errors import DataError, VaekitError
from vaekit.files import HOST

OPEN = """
import sys
from vaekit.data import open_data
data = open_data(sys.argv[1], size=64, cache=sys.argv[2], workers=int(sys.argv[3]))
print(data.digest, "torch" in sys.modules)
"""


def start(folder, cache, workers=2, code=OPEN, **options):
    command = [sys.executable, "-c", code, str(folder), str(cache), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split()


def pixels_of(cache):
    (entry,) = Path(cache).glob("pixels/*/entry.json")
    return json.loads(entry.read_text()), (entry.parent / "pixels.u8").read_bytes()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """700 files, 60 of them broken or duplicates, and what an undisturbed ingest makes of them."""
    folder = folder_of(tmp_path_factory.mktemp("large") / "x", 700, kind="JPEG", height=200, width=160)
    for i in range(5, 700, 12):
        (folder / f"{i:03d}.jpeg").write_bytes(b"no picture" if i % 24 == 5 else (folder / f"{i // 2:03d}.jpeg").read_bytes())
    cache = folder.parent / "cache"
    digest = open_data(folder, size=64, cache=cache).digest
    return folder, cache, digest


def test_in_this_process_or_in_others_the_bytes_are_the_same(large, tmp_path):
    folder, cache, digest = large
    assert open_data(folder, size=64, cache=tmp_path, workers=0).digest == digest
    assert pixels_of(tmp_path) == pixels_of(cache)


def test_progress_counts_every_file_once_and_a_second_open_decodes_nothing(large, tmp_path, monkeypatch):
    folder, _, _ = large
    told = []
    first = open_data(folder, size=64, cache=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (700, 700)
    assert told == sorted(told)
    monkeypatch.setattr(pools, "Process", None)
    second = open_data(folder, size=64, cache=tmp_path, progress=lambda done, total: told.append("decoded"))
    assert told[-1] == (700, 700)
    assert second.digest == first.digest
    assert second.files == first.files
    assert second.quarantine == first.quarantine
    assert len(first.quarantine.paths("duplicate")) + len(first.quarantine.paths("not an image")) == 58


def test_a_second_open_starts_no_process_where_nothing_had_to_be_surveyed(large, tmp_path, monkeypatch):
    folder, _, _ = large
    first = open_data(folder, size=64, channels=3, cache=tmp_path)
    monkeypatch.setattr(pools, "Process", None)
    assert open_data(folder, size=64, channels=3, cache=tmp_path).digest == first.digest


def test_what_is_wrong_with_a_table_costs_no_second_decoding(large, tmp_path):
    folder, _, digest = large
    with pytest.raises(DataError, match="group='nobody'"):
        open_data(folder, size=64, cache=tmp_path, group="nobody")
    assert open_data(folder, size=64, cache=tmp_path, progress=lambda done, total: pytest.fail("decoded")).digest == digest


def test_a_killed_ingest_goes_on_where_it_was(large, tmp_path):
    folder, cache, digest = large
    rng = np.random.default_rng()
    kills, reached = 0, set()
    while kills < 8:
        process = start(folder, tmp_path)
        partial = next(iter(tmp_path.glob("pixels/*.partial")), None)
        before = sum(path.stat().st_size for path in partial.glob("*")) if partial else 0
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:  # until it has written something new
            found = [path.stat().st_size for path in tmp_path.glob("pixels/*.partial/*")]
            if sum(found) > before:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        reached |= {path.stat().st_size for path in tmp_path.glob("pixels/*.partial/pixels.u8")}
    assert finish(start(folder, tmp_path)) == [digest, "False"]
    assert pixels_of(tmp_path) == pixels_of(cache)
    assert len(reached) > 1
    assert not list(tmp_path.glob("pixels/*.partial"))


def test_pixels_that_did_not_reach_the_disk_are_decoded_again(large, tmp_path):
    folder, cache, digest = large
    seen = []

    def stop(done, total):
        seen.append(done)
        if done > 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_data(folder, size=64, cache=tmp_path, progress=stop)
    (partial,) = tmp_path.glob("pixels/*.partial")
    size = (partial / "pixels.u8").stat().st_size
    with open(partial / "pixels.u8", "r+b") as file:
        file.seek(size // 2)
        file.write(bytes(5000))
    with open(partial / "journal.jsonl", "ab") as file:
        file.write(b'{"results": [')
    resumed = []
    assert open_data(folder, size=64, cache=tmp_path, progress=lambda done, total: resumed.append(done)).digest == digest
    assert 64 < resumed[0] < 400
    assert pixels_of(tmp_path) == pixels_of(cache)


def test_two_at_once_make_one(large, tmp_path):
    folder, cache, digest = large
    both = [start(folder, tmp_path), start(folder, tmp_path)]
    assert [finish(process)[0] for process in both] == [digest, digest]
    assert pixels_of(tmp_path) == pixels_of(cache)


def test_no_process_outlives_a_killed_one(large, tmp_path):
    import psutil

    folder, _, _ = large
    process = start(folder, tmp_path)
    children = []
    while process.poll() is None and not any(tmp_path.glob("pixels/*.partial/*")):
        time.sleep(0.005)
    children = psutil.Process(process.pid).children() if process.poll() is None else []
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_files_that_kill_their_process_are_named_and_no_other_is_lost(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "x", 400, height=8, width=8)
    calm = open_data(folder, size=8, channels=3, cache=tmp_path / "calm", workers=0)
    module = tmp_path / "sitecustomize.py"
    module.write_text(
        "import os\nfrom vaekit.data import worker\nplain = worker.decode\n"
        "def deadly(data, recipe):\n    if b'deadly' in data: os._exit(11)\n    return plain(data, recipe)\n"
        "worker.decode = deadly\n"
    )
    deadly = ["007-.png", "070-.png", "071-.png", "399-.png"]
    for name in deadly:
        (folder / name).write_bytes(encoded(1) + b"deadly")
    monkeypatch.syspath_prepend(tmp_path)
    data = open_data(folder, size=8, channels=3, cache=tmp_path / "cache", workers=2)
    assert data.quarantine.paths("crashed the decoder") == tuple(deadly)
    assert data.files == calm.files
    assert (data.pixels == calm.pixels).all()


def test_a_picture_whose_process_was_killed_twice_by_somebody_else_is_no_broken_one(tmp_path, monkeypatch):
    """Once amid its chunk, once alone."""
    folder = folder_of(tmp_path / "x", 200, height=8, width=8)
    calm = open_data(folder, size=8, channels=3, cache=tmp_path / "calm", workers=0)
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom vaekit.data import worker\nplain = worker.decode\n"
        f"innocent, deaths = open({str(folder / '070.png')!r}, 'rb').read(), {str(tmp_path / 'deaths')!r}\n"
        "def killed(data, recipe):\n"
        "    if data == innocent:\n"
        "        with open(deaths, 'a+b') as file:\n            file.write(b'.')\n            times = file.tell()\n"
        "        if times <= 2: os._exit(11)\n"
        "    return plain(data, recipe)\n"
        "worker.decode = killed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = open_data(folder, size=8, channels=3, cache=tmp_path / "cache", workers=2)
    assert (tmp_path / "deaths").read_bytes() == b"..."
    assert not data.quarantine.paths("crashed the decoder")
    assert data.digest == calm.digest


def test_processes_killed_by_somebody_else_lose_nothing(large, tmp_path):
    import psutil

    folder, cache, digest = large
    killed = []

    def kill_one(done, total):
        if done in (64, 256):
            victim = psutil.Process().children()[0]
            victim.kill()
            killed.append(victim.pid)

    assert open_data(folder, size=64, cache=tmp_path, workers=2, progress=kill_one).digest == digest
    assert pixels_of(tmp_path) == pixels_of(cache)
    assert len(set(killed)) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_headers_are_read_until_the_answer_is_certain(tmp_path, monkeypatch, workers):
    """One coloured picture settles the channels, and more than a tenth of large ones the size."""
    folder = folder_of(tmp_path / "x", 150, height=8, width=8)
    seen = []
    monkeypatch.setattr(worker, "header", lambda file, header=worker.header: seen.append(file.name) or header(file))
    assert open_data(folder, size=8, cache=tmp_path / "cache", workers=workers).image == (3, 8, 8)
    assert len(seen) == (workers == 0)
    for i in range(149):
        Image.fromarray(scene(i, 8, 8, 1)[..., 0]).save(folder / f"{i:03d}.png")
    assert open_data(folder, size=8, cache=tmp_path / "cache", workers=workers).image == (3, 8, 8)
    Image.fromarray(scene(149, 8, 8, 1)[..., 0]).save(folder / "149.png")
    assert open_data(folder, size=8, cache=tmp_path / "cache", workers=workers).image == (1, 8, 8)
    assert open_data(folder, cache=tmp_path / "cache", workers=workers).image == (1, 8, 8)
    for i in range(15):
        (folder / f"{i:03d}.png").write_bytes(encoded(i, height=129, width=8))
    assert open_data(folder, cache=tmp_path / "cache", workers=workers).image == (3, 8, 8)
    (folder / "015.png").write_bytes(encoded(15, height=129, width=8))
    assert open_data(folder, cache=tmp_path / "cache", workers=workers).image == (3, 64, 64)


def test_processes_that_do_not_start_stop_the_ingest(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "x", 3, height=8, width=8)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.exit('no decoder here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VaekitError, match=r"did not start.*workers=0"):
        open_data(folder, size=8, channels=3, cache=tmp_path / "cache", workers=1)


def test_a_full_disk_is_one_message_and_nothing_half_valid(large, tmp_path):
    folder, cache, digest = large
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n" + OPEN
    process = start(folder, tmp_path, code=limited)
    _, err = process.communicate(timeout=120)
    assert "VaekitError: The cache folder" in err
    assert "cannot be written: File too large" in err
    assert not list(tmp_path.glob("pixels/*/entry.json"))
    assert open_data(folder, size=64, cache=tmp_path).digest == digest
    assert pixels_of(tmp_path) == pixels_of(cache)


def test_too_little_space_is_said_before_the_work(large, tmp_path, monkeypatch):
    folder, _, _ = large
    full = os.statvfs_result((4096, 4096, 10, 10, 10, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    told = []
    with pytest.raises(VaekitError, match=r"need 0\.01 GB.*free"):
        open_data(folder, size=64, channels=3, cache=tmp_path, progress=lambda *done: told.append(done))
    assert not told


def test_a_changed_folder_is_ingested_again(tmp_path):
    folder, cache = folder_of(tmp_path / "x", 4), tmp_path / "cache"
    before = open_data(folder, cache=cache)
    (folder / "002.png").write_bytes(encoded(99))
    after = open_data(folder, cache=cache)
    assert (before.pixels[2] != after.pixels[2]).any()
    (folder / "003.png").unlink()
    assert len(open_data(folder, cache=cache)) == 3


def test_a_damaged_cache_is_made_again(tmp_path):
    folder, cache = folder_of(tmp_path / "x", 4), tmp_path / "cache"
    digest = open_data(folder, cache=cache).digest
    (pixels,) = cache.glob("pixels/*/pixels.u8")
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert open_data(folder, cache=cache).digest == digest


def test_a_script_needs_no_guard(large, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(OPEN)
    folder, _, digest = large
    done = subprocess.run(
        [sys.executable, script, folder, tmp_path / "cache", "2"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [digest, "False"]


def test_a_decoding_process_loads_no_numpy(tmp_path):
    """It would take as long as all else that it imports."""
    folder = folder_of(tmp_path / "x", 1, kind="JPEG")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(folder / "deep.png")
    code = (
        "import sys\nfrom vaekit.data import worker\n"
        "recipe = dict(height=8, width=8, channels=3)\n"
        "print(worker.decode_chunk(bytearray(384), sys.argv[1], ['000.jpeg', 'deep.png'], 0, recipe))\n"
        "print({'numpy', 'torch', 'pooch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    results, loaded = done.stdout.splitlines()
    assert "[" not in results.removeprefix("{'results': [")
    assert loaded == "set()"


def test_a_file_larger_than_one_read_is_read_whole(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    (tmp_path / "x").mkdir()
    Image.fromarray(noise).save(tmp_path / "x" / "noise.png")
    assert (tmp_path / "x" / "noise.png").stat().st_size > 2 * worker.READ_BYTES
    data = open_data(tmp_path / "x", size=(300, 200), cache=tmp_path / "cache")
    assert (data.pixels[0] == noise.transpose(2, 0, 1)).all()


def test_all_broken_leaves_no_cache(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i}.png").write_bytes(b"no %d" % i)
    with pytest.raises(DataError, match="None of the 200 pictures"):
        open_data(folder, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("pixels/*/"))


@pytest.mark.parametrize("torn", [bytes(200) + b"\n", b"\xff\xfe\n", b"17\n", b'{"rows": 3}\n', b'{"results": ['])
def test_a_torn_journal_ends_where_it_is_torn(tmp_path, torn):
    folder, cache = folder_of(tmp_path / "x", 150, height=8, width=8), tmp_path / "cache"
    calm = open_data(folder, cache=tmp_path / "calm", workers=0).digest

    def stop(done, total):
        if done == 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_data(folder, cache=cache, progress=stop, workers=0)
    (journal,) = cache.glob("pixels/*.partial/journal.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + torn)
    resumed = []
    assert open_data(folder, cache=cache, progress=lambda done, total: resumed.append(done), workers=0).digest == calm
    assert resumed[0] == 128


@pytest.mark.parametrize("pattern", ["pixels/*/entry.json", "pixels/*/index-*.npz", "surveys/*.json"])
def test_whatever_is_damaged_in_the_cache_is_made_again(tmp_path, pattern):
    folder, cache = folder_of(tmp_path / "x", 4), tmp_path / "cache"
    (folder / "twin.png").write_bytes((folder / "001.png").read_bytes())
    before = open_data(folder, cache=cache)
    (kept,) = cache.glob(pattern)
    whole = kept.read_bytes()
    for damaged in (b"", bytes(len(whole)), whole[: len(whole) // 2], b"\xff" + whole[1:], b"{}", b"[]"):
        kept.write_bytes(damaged)
        after = open_data(folder, cache=cache)
        assert (after.digest, after.quarantine, after.files) == (before.digest, before.quarantine, before.files)
        assert kept.stat().st_size == len(whole)


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    folder, cache = folder_of(tmp_path / "x", 4), tmp_path / "cache"
    open_data(folder, cache=cache)
    (target,) = (path.parent for path in cache.glob("pixels/*/entry.json"))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (target / f"index-a.npz.tmp-{HOST}-{dead.pid}").write_bytes(b"half")
    (target / f"index-b.npz.tmp-{HOST}-{os.getpid()}").write_bytes(b"half")
    open_data(folder, cache=cache, seed=1)
    assert [path.name for path in target.glob("*.tmp-*")] == [f"index-b.npz.tmp-{HOST}-{os.getpid()}"]


def test_no_more_processes_than_this_one_may_use(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # what joblib knows beside affinity and quotas
    with pools.Pool() as pool:
        pool.expect(100_000)
        assert pool.workers == 1
