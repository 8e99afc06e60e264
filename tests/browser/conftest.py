"""Tests with a real browser, run by `scripts/browser`. Where its driver is not installed nothing is collected."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("playwright") else ["*.py"]
