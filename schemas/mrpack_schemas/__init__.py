"""JSON Schemas of everything mrpack writes or reads, and `load(name)`."""
