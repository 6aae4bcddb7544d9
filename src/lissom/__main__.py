"""`python -m lissom` is the command `lissom`."""

from lissom.cli.app import main

main()
