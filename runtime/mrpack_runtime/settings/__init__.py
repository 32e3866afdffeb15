"""Settings: from where they come, which comes first, and where those are kept that a user gives by hand."""
