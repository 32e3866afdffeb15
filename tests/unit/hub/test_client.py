"""Listing and downloading with the real huggingface_hub, from a hub that speaks its API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.content.progress import Event, Finished, Outcome
from mrpack.errors import AccessDenied, IntegrityError, MrpackError, NotFound, RegistryUnavailable
from mrpack.hub.client import HubClient
from mrpack.hub.listing import HubListing
from mrpack.hub.reference import HubReference, parse_hub_reference
from tests.fakes.hub import LARGE, FakeHub
from tests.ports import closed_port
from tests.waiting import until

LARGE_FILE = bytes(range(256)) * (LARGE // 128)
FILES = {
    "README.md": b"# hi\n",
    "config.json": b"{}",
    "empty.txt": b"",
    "sub/folder/model.gguf": LARGE_FILE,
    "sub/vocab.txt": b"a\nb\n",
}
REPOSITORY = HubReference(repository="Org/Repo")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(page_size=2) as server:
        server.add("Org/Repo", FILES)
        yield server


def client(hub: FakeHub, tmp_path: Path, token: str | None = None) -> HubClient:
    return HubClient(endpoint=hub.url, token=token, cache=tmp_path / "cache")


def download(hub: FakeHub, tmp_path: Path, token: str | None = None) -> tuple[Path, HubListing, list[Event]]:
    events: list[Event] = []
    connected = client(hub, tmp_path, token)
    listing = connected.list_files(REPOSITORY)
    return connected.download(listing, listing.files, jobs=3, report=events.append), listing, events


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_pages_are_listed_at_the_commit_that_the_name_means_now(hub: FakeHub, tmp_path: Path) -> None:
    listing = client(hub, tmp_path).list_files(REPOSITORY)
    assert [file.path for file in listing.files] == sorted(FILES)
    assert [file.size for file in listing.files] == [len(FILES[path]) for path in sorted(FILES)]
    assert [file.path for file in listing.files if file.digest] == ["sub/folder/model.gguf"]
    pages = hub.seen("GET", "/tree/")
    assert len(pages) == 4
    assert all(f"/tree/{listing.revision}" in page.target for page in pages)


def test_a_download_is_what_the_commit_holds_even_when_the_branch_moves_on(
    hub: FakeHub, tmp_path: Path
) -> None:
    connected = client(hub, tmp_path)
    listing = connected.list_files(REPOSITORY)
    hub.add("Org/Repo", {"README.md": b"another", "sub/folder/model.gguf": LARGE_FILE[::-1]})
    folder = connected.download(listing, listing.files, jobs=3, report=lambda _event: None)
    assert contents(folder) == FILES
    assert folder.name == listing.revision


def test_what_is_in_the_cache_is_not_asked_for_again(hub: FakeHub, tmp_path: Path) -> None:
    _, _, events = download(hub, tmp_path)
    assert [event.outcome for event in events if isinstance(event, Finished)] == [Outcome.TRANSFERRED]
    before = len(hub.requests)
    folder, _, events = download(hub, tmp_path)
    assert contents(folder) == FILES
    assert [event.outcome for event in events if isinstance(event, Finished)] == [Outcome.EXISTING]
    assert all("/api/models/" in request.target for request in hub.requests[before:])


def test_a_cut_connection_is_taken_up_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.cuts = 1
    folder, _, _ = download(hub, tmp_path)
    assert contents(folder) == FILES


def test_the_token_is_for_the_hub_alone_and_nothing_is_told_about_this_machine(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.protect("Org/Repo", "hf_secret")
    download(hub, tmp_path, "hf_secret")
    stored = hub.seen("GET", "/storage/")
    assert stored
    assert all("authorization" not in request.headers for request in stored)
    for request in hub.requests:
        assert (
            "/api/models/Org/Repo" in request.target
            or "/Org/Repo/resolve/" in request.target
            or (request in stored)
        )
        assert {part.partition("/")[0] for part in request.headers["user-agent"].split("; ")} == {
            "mrpack",
            "hf_hub",
            "python",
        }


def test_a_renamed_repository_is_followed(hub: FakeHub, tmp_path: Path) -> None:
    hub.move("Old/Name", "Org/Repo")
    listing = client(hub, tmp_path).list_files(HubReference(repository="Old/Name"))
    assert listing.repository == "Org/Repo"
    assert len(listing.files) == len(FILES)


def test_revisions_are_branches_tags_and_commits(hub: FakeHub, tmp_path: Path) -> None:
    first = client(hub, tmp_path).list_files(REPOSITORY).revision
    second = hub.add("Org/Repo", {"x.txt": b"x"}, revision="refs/pr/1")
    for name, commit in (("refs/pr/1", second), (second, second), ("main", first)):
        reference = parse_hub_reference(f"hf.co/Org/Repo@{name}")
        assert client(hub, tmp_path).list_files(reference).revision == commit


@pytest.mark.parametrize(
    ("status", "headers", "error", "says"),
    [
        (401, {"X_Error_Code": "RepoNotFound"}, AccessDenied, "HF_TOKEN"),
        (401, {}, AccessDenied, "HF_TOKEN"),
        (403, {"X_Error_Code": "GatedRepo"}, AccessDenied, "https://huggingface.co/Org/Repo, then"),
        (401, {"X_Error_Code": "GatedRepo"}, AccessDenied, "consent"),
        (403, {}, AccessDenied, "credentials"),
        (403, {"X_Error_Message": "Access to this resource is disabled."}, AccessDenied, "disabled"),
        (404, {"X_Error_Code": "RepoNotFound"}, NotFound, "hf.co/Org/Repo"),
        (404, {"X_Error_Code": "RevisionNotFound"}, NotFound, "no such revision"),
        (500, {}, RegistryUnavailable, "status 500"),
        (503, {}, RegistryUnavailable, "status 503"),
    ],
)
def test_refusals_have_their_families(
    hub: FakeHub, tmp_path: Path, status: int, headers: dict[str, str], error: type[MrpackError], says: str
) -> None:
    hub.refuse("Org/Repo", status, **headers)
    with pytest.raises(error) as caught:
        client(hub, tmp_path).list_files(REPOSITORY)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "30"}, 30.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_how_long(
    hub: FakeHub, tmp_path: Path, headers: dict[str, str], wait_s: float | None
) -> None:
    hub.refuse("Org/Repo", 429, **headers)
    with pytest.raises(RegistryUnavailable) as caught:
        client(hub, tmp_path).list_files(REPOSITORY)
    assert caught.value.retry_after_s == wait_s


def test_a_hub_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with closed_port() as port:
        nobody = HubClient(endpoint=f"http://127.0.0.1:{port}", cache=tmp_path)
        with pytest.raises(RegistryUnavailable, match="cannot be reached"):
            nobody.list_files(REPOSITORY)


def test_small_files_are_checked_against_git_and_fetched_anew_when_damaged(
    hub: FakeHub, tmp_path: Path
) -> None:
    folder, _, _ = download(hub, tmp_path)
    (folder / "config.json").resolve().write_bytes(b"[]")
    (folder / "sub/vocab.txt").resolve().write_bytes(b"longer than before")
    assert contents(download(hub, tmp_path)[0]) == FILES


def test_a_hub_that_lists_one_thing_and_sends_another_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    connected = client(hub, tmp_path)
    listing = connected.list_files(REPOSITORY)
    hub.swap("Org/Repo", listing.revision, "config.json", b"[]")
    with pytest.raises(IntegrityError, match=r"Org/Repo/config\.json"):
        connected.download(listing, listing.files, jobs=3, report=lambda _event: None)


def test_one_failure_stops_the_other_downloads(hub: FakeHub, tmp_path: Path) -> None:
    connected = client(hub, tmp_path)
    listing = connected.list_files(REPOSITORY)
    hub.swap("Org/Repo", listing.revision, "config.json", None)
    before = set(threading.enumerate())
    with pytest.raises(NotFound, match=r"config\.json"):
        connected.download(listing, listing.files, jobs=1, report=lambda _event: None)

    def downloading() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]

    until(lambda: set(downloading()) <= before, "the end of the downloads")
