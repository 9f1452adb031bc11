"""The command line as one of torchrun's processes, which takes another one for lost after seconds instead of minutes."""

from datetime import timedelta

from vaekit import world
from vaekit.cli import main

if __name__ == "__main__":
    world.SILENCE = timedelta(seconds=8)
    main()
