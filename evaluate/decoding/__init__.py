"""Beam search and sampling over any model with `step` and `reorder` (section 6.1)."""
