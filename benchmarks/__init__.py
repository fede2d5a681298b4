"""Measurements; each is a command that writes benchmarks/results/<name>.json."""
