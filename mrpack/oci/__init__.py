"""The words of the OCI image specification, as values that keep their bytes."""
