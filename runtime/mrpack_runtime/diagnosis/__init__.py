"""What keeps engines from running here, and what repairs it."""
