"""What all rooms share: errors, files, settings, and how commands start and end."""
