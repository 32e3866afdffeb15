"""The commands that talk to a gateway or make one, and those for engines."""
