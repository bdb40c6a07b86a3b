"""`python -m sandbox.manifests`."""

import sys

from sandbox.manifests.command import main

sys.exit(main())
