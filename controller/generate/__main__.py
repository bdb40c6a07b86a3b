"""`python -m controller.generate`."""

import sys

from controller.generate.command import GENERATOR

sys.exit(GENERATOR.main())
