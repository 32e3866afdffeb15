"""A Hugging Face hub on a free port: the API that huggingface_hub uses, and its storage behind redirects.

Large files lie on a host of their own, which must not see tokens: the same server under another name. Trees
come in pages, as real ones do. `refuse` bends the answers of one repository, `cuts` and `stalls` those of the
storage; every request is recorded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_STORED = re.compile(r"/storage/([0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(\d+)-")
# From this size on files are large ones, which real hubs decide by suffix and by 10 MB.
LARGE = 4096


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    host: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep: int | None = None
    stalls: bool = False


@dataclass
class Repository:
    """Files by revision; `main` and every commit are revisions."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    token: str = ""
    refusal: Answer | None = None


class FakeHub:
    """Use it as a context manager. `url` goes into HF_ENDPOINT."""

    def __init__(self, *, page_size: int = 3) -> None:
        self.requests: list[Request] = []
        self.storage: dict[str, bytes] = {}
        self.cuts = 0
        self.stalls = False
        self.asked_for_content = threading.Event()
        self.closing = threading.Event()
        self._page_size = page_size
        self._repositories: dict[str, Repository] = {}
        self._moved: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def add(self, name: str, files: Mapping[str, bytes], *, revision: str = "main") -> str:
        """A new commit that `revision` points to from now on."""
        repository = self._repositories.setdefault(name, Repository())
        commit = hashlib.sha1(f"{name} {len(repository.commits)}".encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.names[revision] = commit
        for content in files.values():
            if len(content) >= LARGE:
                self.storage[hashlib.sha256(content).hexdigest()] = content
        return commit

    def swap(self, name: str, commit: str, path: str, content: bytes | None) -> None:
        """Another content for a file after all, or none, as an honest hub never does."""
        files = self._repositories[name].commits[commit]
        files.pop(path)
        if content is not None:
            files[path] = content

    def move(self, old: str, new: str) -> None:
        self._moved[old] = new

    def protect(self, name: str, token: str) -> None:
        """Who does not send `token` is told, as by real hubs, that there is nothing."""
        self._repositories[name].token = token

    def refuse(self, name: str, status: int, **headers: str) -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self._repositories[name].refusal = Answer(status, named, b'{"error":"no"}')

    def environment(self, cache: str) -> dict[str, str]:
        """What makes huggingface_hub talk to this hub, and keep its files in `cache`."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": cache, "HF_HUB_DISABLE_XET": "1"}

    def seen(self, method: str, part: str) -> list[Request]:
        return [item for item in self.requests if item.method == method and part in item.target]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        parts = urlsplit(request.target)
        path = unquote(parts.path)
        if stored := _STORED.fullmatch(path):
            return self._store(stored[1], request)
        if api := _API.fullmatch(parts.path):
            return self._api(request, api[1], api[2], unquote(api[3] or "main"), parse_qs(parts.query))
        if resolve := _RESOLVE.fullmatch(path):
            return self._resolve(request, *resolve.groups())
        return Answer(404)

    def _find(self, request: Request, name: str, revision: str) -> tuple[str, dict[str, bytes]] | Answer:
        repository = self._repositories.get(name)
        if repository is None or (
            repository.token and request.headers.get("authorization") != f"Bearer {repository.token}"
        ):
            known = "authorization" in request.headers
            return Answer(404 if known else 401, {"X-Error-Code": "RepoNotFound"}, b'{"error":"no"}')
        if repository.refusal is not None:
            return repository.refusal
        commit = repository.names.get(revision, revision)
        if commit not in repository.commits:
            return Answer(404, {"X-Error-Code": "RevisionNotFound"}, b'{"error":"no"}')
        return commit, repository.commits[commit]

    def _api(
        self, request: Request, name: str, what: str | None, revision: str, query: dict[str, list[str]]
    ) -> Answer:
        if name in self._moved:
            return Answer(307, {"Location": request.target.replace(name, self._moved[name])})
        found = self._find(request, name, revision)
        if isinstance(found, Answer):
            return found
        commit, files = found
        if what != "tree":
            return _json({"id": name, "modelId": name, "sha": commit, "private": False, "siblings": []})
        start = int(query.get("cursor", ["0"])[0])
        entries = _tree(files)
        answer = _json(entries[start : start + self._page_size])
        following = start + self._page_size
        if following >= len(entries):
            return answer
        link = f"{self.url}/api/models/{name}/tree/{revision}?recursive=True&cursor={following}"
        return Answer(answer.status, {**answer.headers, "Link": f'<{link}>; rel="next"'}, answer.body)

    def _resolve(self, request: Request, name: str, revision: str, path: str) -> Answer:
        found = self._find(request, name, revision)
        if isinstance(found, Answer):
            return found
        commit, files = found
        if path not in files:
            return Answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = files[path]
        headers = {"X-Repo-Commit": commit}
        if len(content) < LARGE:
            return Answer(200, {**headers, "ETag": f'"{_git_hash(content)}"'}, content)
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return Answer(302, {**headers, "Location": f"http://localhost:{self.port}/storage/{digest}"})

    def _store(self, digest: str, request: Request) -> Answer:
        content = self.storage[digest]
        headers = {"ETag": f'"{digest}"'}
        part = _RANGE.match(request.headers.get("range", ""))
        start = int(part[1]) if part else 0
        keep = None
        if self.stalls or self.cuts:
            keep = (len(content) - start) // 2
            self.cuts = max(0, self.cuts - 1)
        self.asked_for_content.set()
        if part is None:
            return Answer(200, headers, content, keep, self.stalls)
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(206, headers, content[start:], keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _tree(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Folders first, as the hub has them among the files."""
    folders = {path.rpartition("/")[0] for path in files if "/" in path}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)
    ]
    for path, content in sorted(files.items()):
        entry: dict[str, Any] = {
            "type": "file",
            "path": path,
            "size": len(content),
            "oid": _git_hash(content),
        }
        if len(content) >= LARGE:
            digest = hashlib.sha256(content).hexdigest()
            entry["oid"] = _git_hash(digest.encode())
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        entries.append(entry)
    return entries


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _json(value: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        answer = hub.answer(Request(self.command, self.path, headers.get("host", ""), headers))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._write(answer)

    do_GET = do_HEAD = _handle  # noqa: N815  # http.server asks

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.keep])
            if answer.stalls:
                self.server.hub.closing.wait()  # type: ignore[attr-defined]
            self.close_connection = answer.keep is not None

    def log_message(self, *_args: object) -> None:
        pass
