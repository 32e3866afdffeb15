"""Ollama's API in front of OpenAI's chat, completions and embeddings."""
