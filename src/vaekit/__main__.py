"""`python -m vaekit` is the command `vaekit`."""

from .cli import main

main()
