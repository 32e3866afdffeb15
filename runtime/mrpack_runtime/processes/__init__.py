"""Processes of engines: their start, readiness and end, and what is private to them."""
