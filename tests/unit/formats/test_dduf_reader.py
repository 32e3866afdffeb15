"""The strict DDUF reader: what it reads, what it refuses, and how little it needs for both."""

from __future__ import annotations

import stat
import tracemalloc

import pytest
from huggingface_hub import export_folder_as_dduf, read_dduf_file
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import IntegrityError, InvalidArtifact, NotFound
from mrpack.formats import safetensors
from mrpack.formats.dduf import ContentCheck, DdufArchive, check_content, parse_dduf, read_dduf, survey
from mrpack.model.config import ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.pipeline import Component
from mrpack.readable import ReadableFile
from tests.fakes.malformed_dduf import BAD_WEIGHTS, MALFORMED
from tests.fakes.raw_dduf import FILES, GOOD, SATURATED, Entry, archive, entries, extra, index, zip64
from tests.fakes.tiny_safetensors import FLUX_COMPONENTS, opened, write_flux, write_stable_diffusion


def file_of(content: bytes) -> ReadableFile:
    return ReadableFile(
        name="model.dduf",
        where="model.dduf",
        size=len(content),
        read_at=lambda offset, count: content[offset : offset + count],
    )


def parse(content: bytes) -> DdufArchive:
    return parse_dduf(file_of(content))


def contents(archive: DdufArchive) -> dict[str, bytes]:
    return {file.name: file.read(limit=10**6) for file in archive.files}


def test_entries_and_pipeline_are_read():
    read = parse(GOOD)
    check_content(read)
    assert contents(read) == FILES
    assert read.pipeline.class_name == "TinyPipeline"
    assert read.pipeline.components == (
        Component("vae", "diffusers", "AutoencoderKL"),
        Component("scheduler", "diffusers", "DDIMScheduler"),
    )
    assert {file.where for file in read.files} >= {"model.dduf!model_index.json"}


def test_an_entry_ends_where_the_next_one_starts():
    first = parse(GOOD).files[0]
    assert first.read_at(first.size - 1, 100) == b"}"
    assert first.read_at(first.size, 100) == first.read_at(first.size + 9, 100) == b""


def test_the_index_may_lie_anywhere_since_the_hubs_writer_puts_it_anywhere():
    assert contents(parse(archive(entries()[::-1]))) == FILES


def test_a_component_may_be_left_out_and_still_have_files():
    extra_folder = Entry("safety_checker/config.json", b"{}")
    assert "safety_checker/config.json" in contents(parse(archive([*entries(), extra_folder])))


HARMLESS = {
    "zip64 sizes at the content, as the hub writes them": Entry(
        "vae/config.json",
        b"{}",
        local={"size": SATURATED, "stored_size": SATURATED, "version": 45},
        local_extra=zip64(2, 2),
        central={"version": 45},
    ),
    "zip64 in both": Entry(
        "vae/config.json",
        b"{}",
        local={"size": SATURATED, "stored_size": SATURATED},
        local_extra=zip64(2, 2),
        central={"size": SATURATED, "stored_size": SATURATED},
        central_extra=zip64(2, 2),
    ),
    "padding": Entry("vae/config.json", b"{}", local_extra=extra(0xD935, bytes(40))),
    "times and owner": Entry(
        "vae/config.json",
        b"{}",
        local_extra=extra(0x5455, bytes(9)) + extra(0x7875, bytes(11)),
        central_extra=extra(0x5455, bytes(5)) + extra(0x7875, bytes(11)),
    ),
    "mode of a file": Entry("vae/config.json", b"{}", central={"external": (stat.S_IFREG | 0o600) << 16}),
    "mode without a kind": Entry("vae/config.json", b"{}", central={"external": 0o600 << 16}),
    "flagged as UTF-8": Entry("vae/config.json", b"{}", local={"flags": 0x800}, central={"flags": 0x800}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_other_writers_add_is_accepted(name):
    content = archive([*entries(config=None), HARMLESS[name]])
    assert contents(parse(content)) == FILES


def test_zip64_end_records_are_accepted_with_or_without_need():
    assert contents(parse(archive(entries(), end64={}))) == FILES
    full = {
        "count": 0xFFFF,
        "count_on_disk": 0xFFFF,
        "directory_size": SATURATED,
        "directory_offset": SATURATED,
    }
    assert contents(parse(archive(entries(), end64={}, end=full))) == FILES


def test_names_beyond_ascii_are_read_when_flagged():
    flagged = {"flags": 0x800}
    content = archive([*entries(), Entry("vae/grüße.txt", b"x", local=flagged, central=flagged)])
    assert contents(parse(content))["vae/grüße.txt"] == b"x"


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_file_and_reason(name):
    content, reason = MALFORMED[name]
    with pytest.raises((InvalidArtifact, IntegrityError)) as caught:
        parse(content)
    message = str(caught.value)
    assert reason in message
    assert message.startswith("model.dduf")
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 600


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_that_are_none_are_refused(name):
    content, reason = BAD_WEIGHTS[name]
    with pytest.raises(InvalidArtifact, match=reason) as caught:
        survey(parse(content), safetensors.read_weights)
    assert caught.value.where == "model.dduf!vae/diffusion_pytorch_model.safetensors"


def test_every_cut_of_a_good_file_is_refused():
    for length in range(len(GOOD)):
        with pytest.raises(InvalidArtifact):
            parse(GOOD[:length])


def test_a_flipped_byte_of_content_is_found_by_its_checksum():
    at = GOOD.index(FILES["vae/diffusion_pytorch_model.safetensors"]) + 20
    flipped = parse(GOOD[:at] + bytes((GOOD[at] ^ 1,)) + GOOD[at + 1 :])
    with pytest.raises(
        IntegrityError,
        match=r"content of vae/diffusion_pytorch_model\.safetensors has CRC-32 \w{8}, not \w{8} as listed",
    ) as caught:
        check_content(flipped)
    assert caught.value.expected != caught.value.actual


def test_a_file_that_shrinks_while_it_is_read_is_refused():
    size = len(GOOD)
    for length in range(0, size, 7):
        short = ReadableFile(
            name="m",
            where="m",
            size=size,
            read_at=lambda offset, count, length=length: GOOD[:length][offset : offset + count],
        )
        with pytest.raises(InvalidArtifact, match="shorter while it was read"):
            parse_dduf(short)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        read_dduf(tmp_path / "none.dduf")


@pytest.mark.parametrize("write", [write_flux, write_stable_diffusion])
def test_what_the_hub_exports_is_read(tmp_path, write):
    folder = write(tmp_path / "folder")
    export_folder_as_dduf(tmp_path / "model.dduf", folder)
    read = read_dduf(tmp_path / "model.dduf")
    check_content(read)
    assert contents(read) == {file.name: file.read(limit=10**6) for file in opened(folder)}


def test_labels_are_those_of_docker_model_runner_and_more(tmp_path):
    export_folder_as_dduf(tmp_path / "flux.dduf", write_flux(tmp_path / "folder"))
    size = (tmp_path / "flux.dduf").stat().st_size
    assert survey(read_dduf(tmp_path / "flux.dduf"), safetensors.read_weights) == ModelConfig(
        format="dduf",
        quantization="F32",
        parameters="7.01K",
        architecture="diffusers",
        size=f"{size / 1000:.2f}kB",
        metadata={"dduf_file": "flux.dduf", "layout": "dduf", **FLUX_COMPONENTS},
    )


def test_settings_and_private_keys_of_the_index_are_no_components():
    kept = index(
        _name_or_path="x/y", _ignore_files=["a", "b", "c"], force_zeros=True, limits={"a": [1]}, steps=20
    )
    assert len(parse(archive(entries(model_index=kept))).pipeline.components) == 2


def test_a_class_in_a_file_of_the_model_is_noted():
    read = parse(archive(entries(model_index=index(_class_name=["my_pipeline", "MyPipeline"]))))
    assert (read.pipeline.class_name, read.pipeline.module) == ("MyPipeline", "my_pipeline")


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(content):
    for candidate in (content, content + GOOD[-22:], GOOD[: -len(content) - 22] + content + GOOD[-22:]):
        if candidate != GOOD:
            with pytest.raises((InvalidArtifact, IntegrityError)):
                parse(candidate)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_flipped_bytes_are_refused_or_change_nothing_that_anyone_reads(changes):
    content = bytearray(GOOD)
    for at, value in changes:
        content[at] = value
    try:
        read = parse(bytes(content))
        check_content(read)
    except (InvalidArtifact, IntegrityError):
        return
    assert contents(read) == FILES


NAMES = st.text("ab./\\é\0:", max_size=8) | st.sampled_from(
    ["vae/a.txt", "a.json", "vae/b.model", "unet/config.json"]
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=4), st.booleans())
def test_whatever_is_read_has_safe_names_and_is_read_by_the_hub_too(tmp_path_factory, added, first):
    flagged = {"flags": 0x800}
    more = [Entry(name, content, local=flagged, central=flagged) for name, content in added]
    content = archive([*more, *entries()] if first else [*entries(), *more])
    try:
        read = parse(content)
    except InvalidArtifact:
        return
    check_tree([entry.name for entry in read.entries])
    path = tmp_path_factory.mktemp("hub") / "model.dduf"
    path.write_bytes(content)
    assert {name: (entry.offset, entry.length) for name, entry in read_dduf_file(path).items()} == {
        entry.name: (entry.offset, entry.size) for entry in read.entries
    }


def test_memory_follows_the_number_of_entries():
    many = [Entry(f"vae/{number}.txt") for number in range(9000)]
    content = archive([*entries(), *many])
    tracemalloc.start()
    try:
        assert len(parse(content).entries) == 9004
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(content)


@pytest.mark.parametrize("step", [1, 7, 64, 1 << 20])
def test_checksums_are_compared_while_somebody_else_reads(step):
    def check(content: bytes) -> None:
        looking = ContentCheck(parse(content))
        for start in range(0, len(content), step):
            looking.update(memoryview(content)[start : start + step])

    check(GOOD)
    for entry in parse(GOOD).entries[1:]:
        damaged = bytearray(GOOD)
        damaged[entry.offset + entry.size - 1] ^= 1
        with pytest.raises(IntegrityError, match=entry.name):
            check(bytes(damaged))
