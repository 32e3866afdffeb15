"""The local store: an OCI image layout with names, bundles that engines open, archives, and its care."""
