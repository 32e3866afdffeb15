"""From model files to an artifact: what it will hold, in which order, hashed once."""
