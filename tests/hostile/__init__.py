"""Hostile inputs: folders from somebody else, numbers beyond reason, damaged files, odd text."""
