"""Which files of a repository are taken, by their names alone."""

from __future__ import annotations

import pytest

from mrpack.errors import InvalidArtifact, MrpackError, NotFound, Unsupported, UsageError
from mrpack.hub.labels import find_label
from mrpack.hub.listing import HubFile, HubListing, Selection
from mrpack.hub.select import select

README = (".gitattributes", "README.md")
SINGLES = ("m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0.gguf", "m-F16.gguf", *README)
DYNAMIC = ("m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-UD-Q4_K_XL.gguf", "imatrix_unsloth.gguf")
OLD = ("m.Q4_0.gguf", "m.Q4_0_4_4.gguf", "m.q4_k.gguf", "m.fp16.gguf")
SHARDED = (
    *(f"UD-Q4_K_XL/big-UD-Q4_K_XL-{number:05}-of-00003.gguf" for number in (1, 2, 3)),
    *(f"BF16/big.BF16-{number:05}-of-00002.gguf" for number in (1, 2)),
    *(f"Q2_K/{number:05}-of-00002.gguf" for number in (1, 2)),
    *(f"Q6_K/model-{number:05}-of-00002.gguf" for number in (1, 2)),
    *(f"big-Q8_0-{number:05}-of-00003.gguf" for number in (1, 3)),
)
VISION = ("v-Q4_K_M.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf", "LICENSE")


def listing(*paths: str) -> HubListing:
    files = tuple(HubFile(path=path, size=1, blob_id="0" * 40) for path in paths)
    return HubListing(repository="org/repo", revision="c" * 40, files=files)


def chosen(paths: tuple[str, ...], wish: str | None = None) -> Selection:
    return select(listing(*paths), wish)


def taken(paths: tuple[str, ...], wish: str | None = None) -> list[str]:
    return [file.path for file in chosen(paths, wish).files]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M", "Q4_K_M"),
        ("llama_3_8b_q4_k_m", "Q4_K_M"),
        ("m.i1-IQ2_XXS", "IQ2_XXS"),
        ("m-Q4_K_XL", "Q4_K_XL"),
        ("m-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("m-ud_q4_k_xl", "UD-Q4_K_XL"),
        ("m-bf16-Q8_0", "Q8_0"),
        ("m.Q4_0_4_4", "Q4_0_4_4"),
        ("gpt-oss-20b-MXFP4_MOE", "MXFP4_MOE"),
        ("UD-IQ1_S/model", "UD-IQ1_S"),
        ("Q8_0/m-Q4_0", "Q4_0"),
        ("Q4_K_M/old/model", "Q4_K_M"),
        ("m-q4f16", ""),
        ("all-MiniLM-L6-v2", ""),
        ("SmolLM2-135M", ""),
        ("", ""),
    ],
)
def test_a_label_is_whole_and_the_last_in_a_name(path: str, label: str) -> None:
    assert find_label(path) == label


@pytest.mark.parametrize(
    ("paths", "wish", "files"),
    [
        (("only.gguf", *README), None, ["only.gguf"]),
        (("only-Q4_0.gguf",), None, ["only-Q4_0.gguf"]),
        (SINGLES, "Q4_K_M", ["m-Q4_K_M.gguf"]),
        (SINGLES, "q8_0", ["m-Q8_0.gguf"]),
        (SINGLES, "m-F16", ["m-F16.gguf"]),
        (SINGLES, "FP16", ["m-F16.gguf"]),
        (DYNAMIC, "Q4_K_M", ["m-Q4_K_M.gguf"]),
        (DYNAMIC, "UD-Q4_K_M", ["m-UD-Q4_K_M.gguf"]),
        (DYNAMIC, "UD-Q4_K_XL", ["m-UD-Q4_K_XL.gguf"]),
        (OLD, "Q4_0", ["m.Q4_0.gguf"]),
        (OLD, "Q4_K_M", ["m.q4_k.gguf"]),
        (OLD, "F16", ["m.fp16.gguf"]),
        (SHARDED, "UD-Q4_K_XL", list(SHARDED[:3])),
        (SHARDED, "BF16", list(SHARDED[3:5])),
        (SHARDED, "Q6_K", list(SHARDED[7:9])),
        (("a-Q4_0.gguf", "ab-Q4_0.gguf"), "a-Q4_0", ["a-Q4_0.gguf"]),
        (("m-Q4_0.gguf", "imatrix.gguf", "m.imatrix.gguf"), None, ["m-Q4_0.gguf"]),
    ],
)
def test_one_set_by_its_exact_quantization(
    paths: tuple[str, ...], wish: str | None, files: list[str]
) -> None:
    assert taken(paths, wish) == files
    assert chosen(paths, wish).main == files[0]


@pytest.mark.parametrize(
    ("paths", "wish", "error", "says"),
    [
        (SINGLES, None, UsageError, "m-Q4_K_M|Q4_K_M, Q4_K_S, Q8_0"),
        (SINGLES, "Q6_K", NotFound, "no GGUF model Q6_K .it has F16, Q4_K_M"),
        (SINGLES, "Q4_K_L", NotFound, "Q4_K_L"),
        (SINGLES, "Q4", NotFound, "no GGUF model Q4 "),
        (DYNAMIC, "Q4_K_XL", NotFound, "UD-Q4_K_XL"),
        (SHARDED, "Q8_0", NotFound, "no shard 2 of big-Q8_0"),
        (("a-Q4_0.gguf", "b-Q4_0.gguf", "c.gguf"), "Q4_0", UsageError, "a-Q4_0, b-Q4_0"),
        (("a.gguf", "b.gguf"), None, UsageError, r"hf\.co/org/repo:a"),
        (("a.gguf", "model.safetensors"), None, UsageError, "gguf and safetensors"),
        (("model.safetensors", "config.json"), "Q4_K_M", NotFound, "leave out :Q4_K_M"),
        (("pytorch_model.bin", "config.json"), None, Unsupported, "pytorch_model.bin"),
        (("mmproj-F16.gguf",), None, Unsupported, "no weights"),
        ((), None, Unsupported, "nothing"),
        (("v.gguf", "mmproj-BF16.gguf", "mmproj-F32.gguf"), None, UsageError, "--mmproj FILE"),
        (("v.gguf", "a-mmproj-F16.gguf", "b-mmproj-F16.gguf"), None, UsageError, "several projectors"),
        (("../m.gguf",), None, InvalidArtifact, "bad file name"),
        (("a.dduf", "b.dduf"), None, UsageError, "a, b"),
        (("a.dduf", "b.dduf"), "c", NotFound, "it has a, b"),
    ],
)
def test_nothing_is_guessed(
    paths: tuple[str, ...], wish: str | None, error: type[MrpackError], says: str
) -> None:
    with pytest.raises(error, match=says):
        chosen(paths, wish)


@pytest.mark.parametrize(
    ("paths", "projector"),
    [
        (VISION, "mmproj-F16.gguf"),
        (("v.gguf", "mmproj-BF16.gguf"), "mmproj-BF16.gguf"),
        (("v.gguf", "v.mmproj-Q8_0.gguf"), "v.mmproj-Q8_0.gguf"),
        (("Q4/v-Q4_0.gguf", "mmproj-model-f16.gguf"), "mmproj-model-f16.gguf"),
        (("Q4/v-Q4_0.gguf", "Q4/mmproj.gguf", "mmproj.gguf"), "Q4/mmproj.gguf"),
        (("v.gguf", "other/mmproj.gguf"), ""),
        (("v.gguf",), ""),
    ],
)
def test_the_projector_is_the_only_one_or_exactly_f16(paths: tuple[str, ...], projector: str) -> None:
    selection = chosen(paths)
    assert selection.projector == projector
    assert not projector or projector in [file.path for file in selection.files]


def test_a_projector_goes_along_only_when_it_is_wanted() -> None:
    assert taken(VISION) == ["v-Q4_K_M.gguf", "mmproj-F16.gguf", "LICENSE"]
    assert chosen(VISION).licenses == ("LICENSE",)
    undecided = listing("v.gguf", "mmproj-BF16.gguf", "mmproj-F32.gguf")
    assert [file.path for file in select(undecided, None, projector=False).files] == ["v.gguf"]


def test_a_kind_can_be_wished_for() -> None:
    both = ("m-Q4_0.gguf", "model.safetensors", "config.json")
    assert taken(both, "safetensors") == ["model.safetensors", "config.json"]
    assert taken(both, "GGUF") == ["m-Q4_0.gguf"]
    assert taken(both, "Q4_0") == ["m-Q4_0.gguf"]
    assert taken(("a.dduf", "b.dduf"), "B") == ["b.dduf"]


@pytest.mark.parametrize(
    ("paths", "left_out"),
    [
        (("config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE"), ()),
        (("model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"), (1, 2, 3)),
        (("model.safetensors", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"), (1, 2)),
        (("model.safetensors", "onnx/model.onnx", "onnx/config.json", "openvino/x.bin"), (1, 2, 3)),
        (("model.safetensors", "original/consolidated.00.pth", "original/params.json"), (1, 2)),
        (("model.safetensors", "checkpoint-500/model.safetensors", "training_args.bin"), (1, 2)),
        (("model-00001-of-00001.safetensors", "consolidated.safetensors", "params.json"), (1,)),
        (("consolidated.safetensors", "params.json"), ()),
        (("model.safetensors", "model.fp16.safetensors"), (1,)),
        (("model.safetensors", ".cache/x.json", "sub/.hidden", ".mrpackignore"), (1, 2)),
        # Nobody knows whether these are needed: what is code, packing refuses.
        (("model.safetensors", "voices/a.pt", "tokenizer.bin", "modeling.py", "a.png"), ()),
        (("model.safetensors", "1_Pooling/config.json", "2_Dense/pytorch_model.bin"), ()),
    ],
)
def test_a_folder_goes_whole_without_copies_of_its_weights(
    paths: tuple[str, ...], left_out: tuple[int, ...]
) -> None:
    selection = chosen(paths)
    assert (selection.kind, selection.main) == ("safetensors", "")
    kept = [path for number, path in enumerate(paths) if number not in left_out]
    assert [file.path for file in selection.files] == kept


PIPELINE = ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json")


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        (("unet/diffusion_pytorch_model.safetensors", "sd_v1-5.safetensors", "sd_v1-5.ckpt"), 1),
        (("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"), 1),
        (("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"), 1),
        (
            (
                "unet/d-00001-of-00002.safetensors",
                "unet/d-00002-of-00002.safetensors",
                "unet/d.safetensors.index.json",
                "unet/d.fp16-00001-of-00001.safetensors",
                "unet/d.safetensors.index.fp16.json",
            ),
            3,
        ),
        # The variant is all there is of one component.
        (("unet/d.fp16.safetensors", "vae/d.safetensors", "vae/d.fp16.safetensors"), 3),
        (("unet/d.safetensors", "vae/d.safetensors", "vae_encoder/model.onnx"), 2),
    ],
)
def test_a_pipeline_keeps_the_weights_of_its_components(weights: tuple[str, ...], kept: int) -> None:
    selection = chosen((*PIPELINE, *weights))
    assert selection.kind == "diffusers"
    files = [file.path for file in selection.files if file.path not in PIPELINE]
    assert files == list(weights[:kept])
