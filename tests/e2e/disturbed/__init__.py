"""Tests that kill, freeze, double or misconfigure things, with operators of their own on the stack that has none."""
