"""Corpora: their names, tables, datasets, text for language modelling, and the filters of sentence pairs."""
