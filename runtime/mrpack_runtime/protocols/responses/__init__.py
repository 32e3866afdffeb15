"""OpenAI's Responses API in front of its chat completions, with the history that it keeps."""
