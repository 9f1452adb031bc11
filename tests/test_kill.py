"""A training and an ingest that are killed and started again end with the bytes of undisturbed ones."""

import subprocess
import sys
from pathlib import Path


def test_killed_and_resumed_is_the_same_to_the_last_bit():
    """The script ends with an error where a byte differs; its default is 20 kills."""
    script = Path(__file__).parents[1] / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "1", "--out", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"training: kills": 1' in done.stdout
    assert '"ingest: kills": 1' in done.stdout
