"""Environments of engines: planned, installed, tried, found and removed."""
