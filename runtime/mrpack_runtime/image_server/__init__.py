"""The image server: OpenAI's image routes in front of one Diffusers pipeline.

A program for the engine's own Python, started by engines/diffusers/run_image_server.py. It imports the
standard library and what that environment has (torch, diffusers, Pillow: in `loading`, `painter`, `memory`
and `pictures`), and nothing else of ours.
"""
