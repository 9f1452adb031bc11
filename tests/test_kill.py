"""A training that is killed and started again ends with the bytes of an undisturbed one; an ingest: test_data_ingest.py."""

import subprocess
import sys
from pathlib import Path


def test_killed_and_resumed_is_the_same_to_the_last_bit():
    """The script ends with an error where a byte differs; its default is 20 kills."""
    script = Path(__file__).parents[1] / "benchmarks" / "kill.py"
    short = ("--kills", "1", "--only", "training", "--epochs", "3", "--no-cold")
    done = subprocess.run([sys.executable, str(script), *short, "--out", "-"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"training: kills": 1' in done.stdout
