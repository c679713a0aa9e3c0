"""Distilled sets of other projects: read in whatever layout they come, and written back."""
