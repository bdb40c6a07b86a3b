"""Tests; see docs/ for what each directory holds."""
