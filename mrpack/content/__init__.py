"""How content moves: the port of sources and targets, and the one copy between them."""
