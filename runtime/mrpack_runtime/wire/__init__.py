"""HTTP/1.1 as both sides of the gateway speak it, and the clients of it."""
