"""`python -m controller` is `roomkeeper`."""

from controller.cli import main

main()
