"""`python -m controller` is `roomkeeper`."""

from controller.cli.main import main

main()
