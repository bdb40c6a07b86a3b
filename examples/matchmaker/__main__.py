"""`python -m examples.matchmaker`, or under the name of whatever package this folder has become."""

from .matchmaker import main

main()
