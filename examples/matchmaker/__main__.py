"""`python -m examples.matchmaker`, or the name that you give this package."""

from .matchmaker import main

main()
