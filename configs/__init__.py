"""Recipes as YAML that list only what differs from the paper's base, and the loader that reads them."""
