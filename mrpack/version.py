"""The version, as a constant: reading the package's metadata would cost 40 ms at every start."""

VERSION = "0.1.0"
