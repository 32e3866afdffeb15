"""The gateway: HTTP from clients, answered by the engines of a pool."""
