"""Anthropic's messages in front of OpenAI's chat."""
