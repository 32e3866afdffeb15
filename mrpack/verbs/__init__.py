"""What mrpack does, as plain functions over a Workspace: one module a family, imported when it is used."""
