"""Comparison of runs: their settings, curves, figures and translations, on one page."""
