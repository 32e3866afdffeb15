"""What clients ask of the image server: fields, sizes, forms, and what a pipeline's call takes of them."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack.model.overrides.diffusers import SCHEDULERS as SETTING
from mrpack_runtime.image_server.fields import from_form
from mrpack_runtime.image_server.form import BadForm, parse_form
from mrpack_runtime.image_server.precision import choose_dtype, find_variant, weights_dtype
from mrpack_runtime.image_server.refusal import Refusal
from mrpack_runtime.image_server.schedulers import SCHEDULERS
from mrpack_runtime.image_server.signature import Signature
from mrpack_runtime.image_server.sizes import Size, SizeRules, most_pixels, parse_size
from mrpack_runtime.image_server.wish import Source, Wish, parse_wish

RANDOM = 99
PICTURE = Source(image=b"picture")


def stable_diffusion(
    prompt=None,
    height=None,
    width=None,
    num_inference_steps=50,
    guidance_scale=7.5,
    negative_prompt=None,
    **rest,
): ...


def turbo(prompt, height=None, width=None, num_inference_steps=4): ...


def repainter(prompt, image, strength=0.8, num_inference_steps=50): ...


def wish(
    *, source: Source | None = None, defaults: dict[str, object] | None = None, **fields: object
) -> Wish:
    return parse_wish({"prompt": "a fox", **fields}, defaults or {}, RANDOM, source)


def call(function: object, asked: Wish) -> dict[str, object]:
    return Signature.of(function.__name__, function).arguments(asked)


def test_a_bare_prompt_leaves_everything_to_the_pipeline() -> None:
    assert call(stable_diffusion, wish()) == {"prompt": "a fox", "num_inference_steps": 50}
    assert call(turbo, wish()) == {"prompt": "a fox", "num_inference_steps": 4}
    assert wish().seed == RANDOM


def test_the_client_wins_over_the_model_and_the_model_over_the_pipeline() -> None:
    defaults = {"num_inference_steps": 8, "guidance_scale": 1.5, "size": "64x32", "negative_prompt": "rain"}
    assert call(stable_diffusion, wish(defaults=defaults)) == {
        "prompt": "a fox",
        "num_inference_steps": 8,
        "guidance_scale": 1.5,
        "width": 64,
        "height": 32,
        "negative_prompt": "rain",
    }
    asked = wish(defaults=defaults, steps=3, guidance=0, size="16x16")
    assert call(stable_diffusion, asked)["num_inference_steps"] == 3
    assert call(stable_diffusion, asked)["guidance_scale"] == 0
    assert wish(defaults=defaults, size="auto").size == Size(64, 32)


def test_what_the_pipeline_lacks_is_refused_when_asked_for_and_left_out_when_not() -> None:
    with pytest.raises(Refusal) as caught:
        call(turbo, wish(guidance_scale=3))
    assert (caught.value.status, caught.value.param) == (400, "guidance_scale")
    assert "guidance_scale" not in call(turbo, wish(defaults={"guidance_scale": 3}))


@pytest.mark.parametrize(("quality", "steps"), [("auto", 50), ("low", 25), ("high", 75), ("hd", 75)])
def test_quality_is_a_share_of_the_steps(quality: str, steps: int) -> None:
    assert call(stable_diffusion, wish(quality=quality))["num_inference_steps"] == steps
    assert call(stable_diffusion, wish(quality=quality, steps=7))["num_inference_steps"] == 7


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x" * 40_000}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"size": "512"}, "size"),
        ({"size": "-64x64"}, "size"),
        ({"size": "64x064"}, "size"),
        ({"size": "64*64"}, "size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": float("inf")}, "seed"),
        ({"steps": 0}, "steps"),
        ({"steps": 5, "num_inference_steps": 6}, "steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"guidance_scale": "7"}, "guidance_scale"),
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"background": "transparent"}, "background"),
        ({"stream": "yes"}, "stream"),
        ({"partial_images": 4}, "partial_images"),
        ({"quality": "best"}, "quality"),
        ({"strength": 0.5}, "strength"),
        ({"num_images_per_prompt": 64}, "num_images_per_prompt"),
        ({"callback_on_step_end": "os.system"}, "callback_on_step_end"),
        ({"custom_pipeline": "evil"}, "custom_pipeline"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        wish(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    error = caught.value.to_json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_fields_of_openai_clients_without_a_meaning_here_do_no_harm() -> None:
    wish(
        model="x", user="u", style="vivid", moderation="low", background="opaque", response_format="b64_json"
    )


def test_what_the_gateway_has_read_of_a_form_is_no_unknown_field() -> None:
    wish(model="x", keep_alive="5m")


def test_the_model_bounds_the_number_of_images() -> None:
    with pytest.raises(Refusal, match="at most 2"):
        wish(defaults={"max_images": 2}, n=3)


def test_a_wish_does_not_show_its_prompt() -> None:
    assert "fox" not in repr(wish(negative_prompt="a fox"))


def test_an_edit_does_at_least_one_step() -> None:
    assert call(repainter, wish(source=PICTURE, strength=0.5, steps=2))["strength"] == 0.5
    with pytest.raises(Refusal, match="less than one"):
        call(repainter, wish(source=PICTURE, strength=0.1, steps=2))


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.floats() | st.text(max_size=20)))
@settings(max_examples=60, deadline=None)
def test_any_body_is_a_wish_or_a_refusal(body: dict[str, object]) -> None:
    with contextlib.suppress(Refusal):
        call(stable_diffusion, parse_wish({"prompt": "x", **body}, {}, RANDOM))


RULES = SizeRules(unit=8, pixels=1024 * 1024, pixel_bytes=1024)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("65x64", "multiples of 8, such as 64x64"),
        ("8x5", "multiples of 8, such as 8x8"),
        ("1032x1024", "more than 1048576 pixels"),
        ("4104x8", "neither side"),
        ("1024x1024", "GiB are free"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_work(text: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        RULES.check(parse_size(text), free_memory=2**29)


def test_fitting_sizes_pass() -> None:
    RULES.check(parse_size("512x512"), free_memory=2**29)
    SizeRules(unit=8).check(parse_size("1024x1024"), free_memory=0)


def test_the_most_pixels_follow_settings_then_the_model() -> None:
    assert most_pixels(Size(512, 512), None) == 1024 * 1024
    assert most_pixels(Size(1024, 1024), None) == 2048 * 2048
    assert most_pixels(None, Size(64, 64)) == 64 * 64
    assert most_pixels(None, None) == 1024 * 1024


FORM = "multipart/form-data; boundary=XX"


def form_of(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return body + b"--XX--\r\n"


def test_forms_have_texts_and_files() -> None:
    content = form_of(
        ('name="prompt"', "ein Fuchs, schön".encode()),
        ('name="image[]"; filename="a.png"', b"\x89PNG\r\n\r\n--X not the boundary"),
        ('name="n"', b"2"),
    )
    form = parse_form(content, FORM)
    assert form.texts == {"prompt": "ein Fuchs, schön", "n": "2"}
    assert form.files == (("image", b"\x89PNG\r\n\r\n--X not the boundary"),)
    assert from_form(form.texts) == {"prompt": "ein Fuchs, schön", "n": 2}


def test_text_fields_of_forms_stay_text() -> None:
    texts = {"prompt": "42", "strength": "0.5", "stream": "true", "seed": "x", "size": "64x64"}
    assert from_form(texts) == {"prompt": "42", "strength": 0.5, "stream": True, "seed": "x", "size": "64x64"}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", FORM),
        (b"--XX", FORM),
        (b"--XX\r\n", FORM),
        (form_of(('name="a"', b"1"))[:-8], FORM),
        (form_of(("nothing", b"1")), FORM),
        (form_of(('name=""', b"1")), FORM),
        (form_of(('name="a"', b"1"), ('name="a"', b"2")), FORM),
        (form_of(('name="a"', b"\xff")), FORM),
        (form_of(('name="a"', b"x" * 300_000)), FORM),
        (form_of(*[(f'name="a{i}"', b"1") for i in range(65)]), FORM),
        (form_of(('name="a"', b"1")), "multipart/form-data"),
        (form_of(('name="a"', b"1")), "application/json; boundary=XX"),
        (form_of(('name="a"', b"1")), "multipart/form-data; boundary=XXé"),
    ],
)
def test_broken_forms_are_refused(content: bytes, content_type: str) -> None:
    with pytest.raises(BadForm):
        parse_form(content, content_type)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_form_or_refused(content: bytes) -> None:
    for body in (content, b"--XX" + content, form_of(('name="a"; filename="f"', content))):
        try:
            parse_form(body, FORM)
        except BadForm:
            continue


@pytest.mark.parametrize(
    ("device", "weights", "fast", "dtype"),
    [
        ("cpu", "F16", True, "float32"),
        ("cpu", "BF16", False, "float32"),
        ("cpu", "BF16", True, "bfloat16"),
        ("cuda", "F16", True, "float16"),
        ("cuda", "BF16", True, "bfloat16"),
        ("cuda", "BF16", False, "float32"),
        ("cuda", "F32", True, "bfloat16"),
        ("cuda", "F32", False, "float16"),
        ("mps", "", True, "bfloat16"),
    ],
)
def test_numbers_fit_device_and_weights(device: str, weights: str, fast: bool, dtype: str) -> None:
    assert choose_dtype(device, weights, fast_bfloat16=fast) == dtype


def test_the_dtype_of_most_bytes_counts(tmp_path: Path) -> None:
    for name, dtype, size in (("vae", "F32", 8), ("unet", "BF16", 64)):
        header = json.dumps({"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert weights_dtype(tmp_path) == "BF16"
    assert weights_dtype(tmp_path / "vae") == ""


def test_a_variant_is_asked_for_where_there_is_nothing_else() -> None:
    assert find_variant(["unet/m.fp16.safetensors", "vae/m.safetensors"]) == "fp16"
    assert find_variant(["unet/m.fp16.safetensors", "unet/m.safetensors"]) is None
    assert find_variant(["t/m.bf16-00001-of-00002.safetensors"]) == "bf16"
    assert find_variant(["unet/m.safetensors"]) is None


def test_the_setting_names_every_scheduler_of_the_server() -> None:
    assert set(SETTING) == set(SCHEDULERS)
