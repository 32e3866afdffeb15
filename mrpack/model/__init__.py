"""What a model is, whatever its format and dialect: its config, its files and their roles, its settings."""
