"""What model files say of themselves: a package a format, none of which knows another."""
