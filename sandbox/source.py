"""Paths: the pins, CRDs and manifests beside this package, and the user's cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PINS: Final = ROOT / "parts"
CRDS: Final = ROOT / "crds"
INSTALL: Final = ROOT / "manifests" / "install.yaml"
FINALIZER_POLICY: Final = ROOT / "manifests" / "finalizer-policy.yaml"
DEMO_DIRECTORY: Final = ROOT / "build" / "demo"


def user_cache() -> Path:
    """`roomkeeper` in the user's cache directory."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # By the XDG specification a relative path is ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "roomkeeper"
