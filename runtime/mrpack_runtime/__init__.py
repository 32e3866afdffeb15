"""Serving models: the gateway, the engines behind it, and their commands."""
