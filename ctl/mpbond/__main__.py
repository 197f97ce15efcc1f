"""`python -m mpbond` is `mpbond`."""

from mpbond.cli.main import main

main()
