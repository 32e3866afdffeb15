"""Requests that are wrong or odd, one row each, with what a gateway has to answer, whatever its engine is."""

from __future__ import annotations

from tests.fakes.odd_requests.anthropic import ANTHROPIC
from tests.fakes.odd_requests.docker import DOCKER
from tests.fakes.odd_requests.framing import FRAMING
from tests.fakes.odd_requests.models import MODELS
from tests.fakes.odd_requests.ollama import OLLAMA
from tests.fakes.odd_requests.openai import FINE, OPENAI
from tests.fakes.odd_requests.responses import OPENAI_RESPONSES
from tests.fakes.odd_requests.scoring import SCORING

ODD = (*FRAMING, *MODELS, *OPENAI, *ANTHROPIC, *OPENAI_RESPONSES, *OLLAMA, *SCORING, *DOCKER, *FINE)
