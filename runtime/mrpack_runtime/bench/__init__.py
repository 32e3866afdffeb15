"""What `mrpack bench` measures, and how."""
