"""Tests with a real browser: `scripts/browser` runs them. Where its driver is not installed there is nothing to collect."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("playwright") else ["*.py"]
