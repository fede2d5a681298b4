"""The evaluation report, as data and as text."""
