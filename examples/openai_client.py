"""Asks a running gateway with OpenAI's own client, and prints the answer while it comes.

    mrpack serve smollm2 &
    python examples/openai_client.py smollm2 "Say hello"

Needs `pip install openai`. Any other client of that API works too: only its base URL has to change.
"""

from __future__ import annotations

import argparse
import os
import sys

import openai


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("question", nargs="?", default="Who are you?")
    parser.add_argument("--url", default="http://127.0.0.1:12434", help="the gateway [default: %(default)s]")
    options = parser.parse_args()
    # The client insists on a key; a gateway on this machine asks for none.
    key = os.environ.get("OPENAI_API_KEY", "none")
    with openai.OpenAI(base_url=f"{options.url}/engines/v1", api_key=key) as client:
        try:
            ask(client, options.model, options.question)
        except openai.APIStatusError as error:
            print(f"status {error.status_code}, {error.code}: {error.message}", file=sys.stderr)
            return 1
    return 0


def ask(client: openai.OpenAI, model: str, question: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for event in stream:
        if event.choices:
            print(event.choices[0].delta.content or "", end="", flush=True)
        if event.usage is not None:
            print(f"\n({event.usage.completion_tokens} tokens by {event.model})")


if __name__ == "__main__":
    sys.exit(main())
