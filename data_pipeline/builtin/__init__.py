"""Corpora that need no files: an English-German grammar with a lexicon, and arithmetic problems."""
