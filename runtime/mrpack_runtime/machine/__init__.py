"""What engines may know of this machine: accelerators, hardware, memory, and which platform runs what."""
