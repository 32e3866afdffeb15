"""The engine process of the launcher `llama-cpp-python`; run by its Python, imports nothing of ours.

    python -I run_llama_cpp_server.py '{"socket": S, "model": {...}, "server": {...}, ...}'

It is llama_cpp.server on a Unix socket with `/health`, and with what only the process that holds the model
can do: a chat template from a file, ChatML for a model without one (as llama-server has it), a pooling for
embeddings, an event with the token counts at the end of each stream, and 400 for requests that do not
validate or would end it.
"""

# The package lives in another Python, or is made of one extension.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import llama_cpp
import uvicorn
from fastapi.exceptions import RequestValidationError
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from llama_cpp.server import app, errors
from llama_cpp.server.settings import ModelSettings, ServerSettings

SPECIFICATION: Final[dict[str, Any]] = json.loads(sys.argv[1])
TEMPLATE_KEY: Final = "tokenizer.chat_template"
TOO_LONG: Final = "context_length_exceeded"
CHATML: Final = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Refused(Exception):
    """A request that cannot be answered as it is; `code` as OpenAI has it."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Llama(llama_cpp.Llama):  # type: ignore[misc]  # the package is in another Python
    """Counts the tokens that `generate` sees."""

    chat_handler: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if SPECIFICATION["pooling"] is not None:
            options["pooling_type"] = SPECIFICATION["pooling"]
        super().__init__(*arguments, **options, lora_scale=SPECIFICATION["lora_scale"])
        llama_cpp.llama_set_embeddings(self.ctx, False)  # else every prompt token costs an output
        self.prompt_tokens = self.completion_tokens = 0
        file = SPECIFICATION["chat_template"]
        if file or TEMPLATE_KEY not in self.metadata:
            template = Path(file).read_text(encoding="utf-8") if file else CHATML
            self.metadata[TEMPLATE_KEY] = template  # a projector's handler takes it from here
            self.chat_handler = self.chat_handler or self.handler(template)

    def handler(self, template: str) -> Any:
        def text(token: int) -> str:
            return self._model.token_get_text(token) if token != -1 else ""

        eos = self.token_eos()
        formatter = Jinja2ChatFormatter(
            template=template, eos_token=text(eos), bos_token=text(self.token_bos()), stop_token_ids=[eos]
        )
        return formatter.to_chat_handler()

    def embed(self, *arguments: Any, **options: Any) -> Any:
        llama_cpp.llama_set_embeddings(self.ctx, True)
        try:
            return super().embed(*arguments, **options, truncate=False)
        except ValueError as error:
            raise Refused(str(error), TOO_LONG) from error  # it would be cut off without a word
        finally:
            llama_cpp.llama_set_embeddings(self.ctx, False)

    def detokenize(self, tokens: list[int], *arguments: Any, **options: Any) -> Any:
        """A number beyond the vocabulary would end the process."""
        if max(tokens, default=0) >= self.n_vocab():
            raise Refused("this model has no text for these tokens")
        return super().detokenize(tokens, *arguments, **options)

    def generate(self, tokens: Any, *arguments: Any, **options: Any) -> Iterator[int]:
        self.prompt_tokens, self.completion_tokens = len(tokens), 0
        for token in super().generate(tokens, *arguments, **options):
            self.completion_tokens += not llama_cpp.llama_vocab_is_eog(self._model.vocab, token)
            yield token

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.check_grammar(options.get("grammar"))
        return self.metered(super().__call__(*arguments, **options))

    def create_chat_completion(self, *arguments: Any, **options: Any) -> Any:
        self.check_grammar(options.get("grammar"))
        return self.metered(super().create_chat_completion(*arguments, **options))

    def check_grammar(self, grammar: Any) -> None:
        """One that is malformed would end the process."""
        if grammar is None:
            return
        text = grammar._grammar.encode()  # noqa: SLF001  # it has no other place for it
        sampler = llama_cpp.llama_sampler_init_grammar(self._model.vocab, text, b"root")
        if not sampler:
            raise Refused("the grammar cannot be understood")
        llama_cpp.llama_sampler_free(sampler)

    def metered(self, answer: Any) -> Any:
        return answer if isinstance(answer, dict) else self.stream(answer)

    def stream(self, events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """After the last event one with the counts; in place of a cut connection one with the error."""
        last: dict[str, Any] = {}
        try:
            for last in events:
                yield last
        except (ValueError, RuntimeError) as error:
            yield {"error": described(str(error), None, code_of(error))}
            return
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        yield {**last, "choices": [], "usage": {**counts, "total_tokens": sum(counts.values())}}


def code_of(error: Exception) -> str | None:
    """As the package's own table of errors has it."""
    table = errors.RouteErrorHandler.pattern_and_formatters
    known = next((formatter for pattern, formatter in table.items() if pattern.search(str(error))), None)
    return TOO_LONG if known is errors.ErrorResponseFormatters.context_length_exceeded else None


DESCRIBE_ERROR: Final = errors.RouteErrorHandler.error_message_wrapper


def describe_error(self: errors.RouteErrorHandler, error: Exception, body: Any = None) -> Any:
    """Status and body; a request that does not validate would be 500."""
    if isinstance(error, Refused):
        return 400, described(str(error), None, error.code)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return 400, described(f"{where}: {first['msg']}", where)
    return DESCRIBE_ERROR(self, error, body)


def described(message: str, where: str | None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": where, "code": code}


def main() -> None:
    llama_cpp.Llama = Llama
    errors.RouteErrorHandler.error_message_wrapper = describe_error
    server = app.create_app(
        server_settings=ServerSettings(**SPECIFICATION["server"]),
        model_settings=[ModelSettings(**SPECIFICATION["model"])],
    )
    server.add_api_route("/health", lambda: {"status": "ok"})
    uvicorn.run(server, uds=SPECIFICATION["socket"], log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
