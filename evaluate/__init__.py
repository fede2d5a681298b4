"""Decoding, translation, metrics and reports."""
