"""`python -m rl` is the command `rhythm`."""

from rl.cli import main

main()
