"""Real Diffusers behind `mrpack serve`: tiny pipelines, packaged, pushed, pulled, and painted with.

Starting the engine takes longest, so one gateway serves all tests of this module.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image, ImageStat

from tests.documented_keys import checked
from tests.fakes.made_by_engines import models_made_by
from tests.integration.conftest import Registry
from tests.integration.engines import link_engines, made_engines
from tests.integration.processes import resident
from tests.program import PROGRAM, Mrpack, empty_environment
from tests.waiting import until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.registry,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("torch"),
]

DEADLINE_S = 240.0
STEPS = 3
SIZE = (48, 32)
MODELS = ("folder", "dduf", "flux", "flux-dduf")
CANARY = "aubergine-canary " * 100
GENERATE = "/v1/images/generations"


@dataclass
class Studio:
    """A running `mrpack serve` with MODELS: two pipelines, each as a folder and as one file."""

    program: Mrpack
    port: int
    home: Path

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = self.send(path, body, **headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(content), fields

    def send(self, path: str, body: Any, **headers: str) -> http.client.HTTPConnection:
        """Without waiting for an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, content, {"Content-Type": "application/json", **headers})
        return connection

    def paint(self, model: str, **fields: Any) -> list[Image.Image]:
        status, body, _ = self.post(GENERATE, {"model": model, "prompt": "a red fox", **fields})
        assert status == 200, body
        return [open_image(image["b64_json"]) for image in body["data"]]

    def cancelled(self) -> list[str]:
        """After how many steps, of each picture that was begun, by the logs."""
        logs = "".join(path.read_text() for path in sorted((self.home / "logs").glob("*.log*")))
        return re.findall(r"cancelled after (\d+) steps", logs)

    def waiting(self) -> int:
        """Requests in the engines' lines."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            numbers = answer.read().decode()
        return sum(map(int, re.findall(r"^image_server_requests_waiting\S* (\d+)", numbers, re.MULTILINE)))

    def client(self) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.port}/engines/diffusers/v1"
        return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=DEADLINE_S)


def open_image(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = made_engines() / "diffusers" / "bin" / "python"
    return models_made_by(python, "tiny_pipelines", tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="module")
def studio(
    pipelines: Path, anonymous_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    made = Mrpack({**empty_environment(folder), "MRPACK_HOME": str(folder / "maker")}, folder)
    own = ("--set", f"diffusers.num_inference_steps={STEPS}", "--set", f"diffusers.size={SIZE[0]}x{SIZE[1]}")
    names = {name: f"{anonymous_registry.name}/paint/{name}:v1" for name in MODELS}
    sd = pipelines / "stable-diffusion"
    made("package", "--diffusers", sd, names["folder"], *own, "--push")
    made("package", "--diffusers", sd, "--as", "dduf", names["dduf"], *own, "--push")
    flux = pipelines / "flux"
    made("package", "--diffusers", flux, names["flux"], "--push")
    made("package", "--diffusers", flux, "--as", "dduf", names["flux-dduf"], "--push")

    home = folder / "home"
    program = Mrpack({**empty_environment(folder), "MRPACK_HOME": str(home)}, folder)
    link_engines(home, "diffusers")
    for name in names.values():
        program("pull", name)
    process = program.start("serve", "--port", "0", "--threads", "1", "--set", "diffusers.max_queue=1")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield Studio(program, int(line.strip().rpartition(":")[2]), home)
    finally:
        process.terminate()
        _, errors = process.communicate()
        assert "Traceback" not in errors, errors
    assert process.returncode == 0


def test_a_dduf_and_its_folder_paint_the_same_pixels(studio: Studio) -> None:
    first, second = studio.paint("folder", seed=7, n=2)
    assert first.size == SIZE
    assert max(ImageStat.Stat(first).stddev) > 1  # not one colour
    assert first.tobytes() != second.tobytes()
    assert studio.paint("folder", seed=7)[0].tobytes() == first.tobytes()
    assert studio.paint("folder", seed=8)[0].tobytes() == second.tobytes()
    assert studio.paint("dduf", seed=7)[0].tobytes() == first.tobytes()
    assert studio.paint("folder", seed=7, size="64x64")[0].size == (64, 64)
    (unpacked,) = (studio.home / "bundles").glob("*/*%unpacked")
    assert (unpacked / "model_index.json").is_file()


# What people write who use the library: one thread, as the gateway here was told.
PAINTS = """
import sys, torch
from diffusers import DiffusionPipeline
folder, steps, width, height, seed, out = sys.argv[1:]
torch.set_num_threads(1)
pipeline = DiffusionPipeline.from_pretrained(folder)
picture = pipeline(
    "a red fox",
    num_inference_steps=int(steps),
    width=int(width),
    height=int(height),
    generator=torch.Generator("cpu").manual_seed(int(seed)),
).images[0]
picture.save(out)
"""


@pytest.mark.parametrize(("model", "source"), [("folder", "stable-diffusion"), ("flux", "flux")])
def test_the_pixels_are_those_that_diffusers_itself_paints(
    studio: Studio, pipelines: Path, tmp_path: Path, model: str, source: str
) -> None:
    python = made_engines() / "diffusers" / "bin" / "python"
    values = map(str, (pipelines / source, STEPS, *SIZE, 11, tmp_path / "fox.png"))
    subprocess.run([python, "-c", PAINTS, *values], env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True)
    (ours,) = studio.paint(model, seed=11, steps=STEPS, size=f"{SIZE[0]}x{SIZE[1]}")
    with Image.open(tmp_path / "fox.png") as theirs:
        assert ours.tobytes() == theirs.tobytes()


def test_painting_takes_no_more_memory_than_expected(studio: Studio) -> None:
    studio.paint("flux", steps=2, size="512x512")
    with urllib.request.urlopen(f"http://127.0.0.1:{studio.port}/engines/ps") as answer:
        engines = json.load(answer)
    assert engines
    for engine in engines:
        assert resident(engine["pid"]) < engine["memory"]["host"]


def test_openai_client_paints_in_every_format(studio: Studio) -> None:
    with studio.client() as client:
        for name in ("png", "jpeg", "webp"):
            result = client.images.generate(model="folder", prompt="a fox", output_format=name)  # type: ignore[arg-type]
            image = open_image(result.data[0].b64_json)
            assert (image.format, image.size) == (name.upper(), SIZE)
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(model="folder", prompt="a fox", response_format="url")
        assert caught.value.param == "response_format"


def test_a_stream_shows_every_step_of_the_artifact(studio: Studio) -> None:
    with studio.client() as client:
        events = list(client.images.generate(model="folder", prompt="a fox", stream=True, partial_images=1))
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds.count("progress") == STEPS
    assert kinds.count("partial_image") == 1
    assert kinds[-1] == "completed"
    assert open_image(events[-1].b64_json).size == SIZE
    assert events[-1].model.endswith("/paint/folder:v1")


def test_an_edit_repaints_what_the_mask_shows(studio: Studio) -> None:
    (image,) = studio.paint("folder", seed=1, size="32x32")
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 32, 16))
    with studio.client() as client:
        extra = {"seed": 2, "strength": 1, "keep_alive": 600}
        files = {"image": ("a.png", png(image)), "prompt": "a dog", "extra_body": extra}
        edited = client.images.edit(model="folder", **files)  # type: ignore[arg-type]
        masked = client.images.edit(model="folder", mask=("m.png", png(mask)), **files)  # type: ignore[arg-type]
    for result in (edited, masked):
        assert open_image(result.data[0].b64_json).size == (32, 32)
    assert edited.data[0].b64_json != masked.data[0].b64_json


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_flux_paints_and_names_what_it_lacks(studio: Studio) -> None:
    (image,) = studio.paint("flux", seed=3, size="64x64", steps=2)
    assert image.size == (64, 64)
    for model in ("flux", "flux-dduf"):
        assert studio.paint(model, seed=3, size="64x64", steps=2)[0].tobytes() == image.tobytes()
    status, body, _ = studio.post(GENERATE, {"model": "flux", "prompt": "x", "size": "66x64"})
    assert (status, body["error"]["param"]) == (400, "size")


def test_a_client_that_leaves_stops_the_work_and_health_answers_meanwhile(studio: Studio) -> None:
    studio.paint("folder")
    before = len(studio.cancelled())
    connection = studio.send(
        GENERATE, {"model": "folder", "prompt": CANARY, "size": "256x256", "steps": 900, "stream": True}
    )
    answer = connection.getresponse()
    assert answer.readline().startswith(b"event: image_generation.progress")
    with urllib.request.urlopen(f"http://127.0.0.1:{studio.port}/health") as health:
        assert health.status == 200
    answer.close()
    connection.close()
    until(lambda: len(studio.cancelled()) > before, "the cancellation", limit_s=DEADLINE_S)
    assert int(studio.cancelled()[before]) < 900
    studio.paint("folder")  # and the pipeline is as before


def test_a_full_line_is_429_and_no_prompt_is_in_a_log(studio: Studio) -> None:
    studio.paint("folder")
    body = {"model": "folder", "prompt": CANARY, "size": "256x256", "steps": 900, "stream": True}
    first = studio.send(GENERATE, body)
    streaming = first.getresponse()
    streaming.readline()
    second = studio.send(GENERATE, body)
    short = {"model": "folder", "prompt": "x", "steps": 1}
    try:
        until(lambda: studio.waiting() == 1, "a full line", limit_s=DEADLINE_S)
        status, _, headers = studio.post(GENERATE, short)
        assert status == 429
        assert int(headers["retry-after"]) >= 1
    finally:
        streaming.close()
        for connection in (first, second):
            connection.close()
    until(lambda: studio.post(GENERATE, short)[0] == 200, "a free line", limit_s=DEADLINE_S)
    for path in (studio.home / "logs").glob("*"):
        assert "aubergine" not in path.read_text()


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"size": "47x32"}, 400, "size"),
        ({"size": "9999x9999"}, 400, "size"),
        ({"size": "4096x4096"}, 400, "size"),
        ({"prompt": ""}, 400, "prompt"),
        ({"n": 99}, 400, "n"),
        ({"guidance_scale": -1}, 400, "guidance_scale"),
        ({"true_cfg_scale": 2}, 400, "true_cfg_scale"),
        ({"trust_remote_code": True}, 400, "trust_remote_code"),
        ({"callback_on_step_end": "x"}, 400, "callback_on_step_end"),
        ({"model": "nobody"}, 404, "model"),
    ],
)
def test_wrong_requests_are_refused_in_openais_shape(
    studio: Studio, fields: dict[str, Any], status: int, param: str
) -> None:
    found, body, _ = studio.post(GENERATE, {"model": "folder", "prompt": "x", **fields})
    assert (found, body["error"]["param"]) == (status, param)
    assert set(body["error"]) >= {"message", "type", "param", "code"}


def test_hostile_forms_are_refused(studio: Studio) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=XX"}
    part = b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    form = part % (b"model", b"folder") + part % (b"prompt", b"x")
    bomb = part.replace(b'"%s"', b'"image"; filename="x"') % (b"\x89PNG\r\n\r\n" * 10)
    for content, status in ((b"", 400), (form, 400), (form + b"--XX--", 400), (form + bomb + b"--XX--", 400)):
        found, body, _ = studio.post("/v1/images/edits", content, **kind)
        assert (found, body["error"]["type"]) == (status, "invalid_request_error"), body
    assert studio.post("/v1/images/edits", {"model": "folder"})[0] == 415
    assert studio.post("/v1/chat/completions", {"model": "folder", "messages": []})[0] == 501
    assert (
        studio.post("/engines/llama.cpp/v1/images/generations", {"model": "folder", "prompt": "x"})[0] == 409
    )


def test_run_paints_into_files_and_pipes(studio: Studio, tmp_path: Path) -> None:
    where = ("--port", str(studio.port))
    program = studio.program
    done = program("run", *where, "folder", "a red fox", "--output", tmp_path / "fox.png", "--seed", "7")
    assert done.out.strip() == str(tmp_path / "fox.png")
    with Image.open(tmp_path / "fox.png") as image:
        assert image.size == SIZE
        assert image.tobytes() == studio.paint("folder", seed=7)[0].tobytes()
        assert image.info["seed"] == "7"
    done = program(
        *("run", *where, "folder", "a red fox", "--output", tmp_path / "f.jpg", "--images", "2", "--json"),
        *("--size", "32x32", "--progress", "json"),
    )
    images = checked("run of an image model", done.json)["images"]
    paths = [Path(checked("run: images", image)["path"]).name for image in images]
    assert paths == ["f-1.jpg", "f-2.jpg"]
    assert done.err.count('"event": "step"') == 2 * STEPS
    piped = subprocess.run(
        [*PROGRAM, "run", *where, "folder", "a red fox", "--output", "-", "-q"],
        env=program.environment,
        input=b"",
        capture_output=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert Image.open(io.BytesIO(piped.stdout)).size == SIZE
    program("run", *where, "folder", "a red fox", fails=2)
    program("run", *where, "folder", "a red fox", "--output", tmp_path / "f.gif", fails=2)
    program(
        "run", *where, "folder", "a red fox", "--output", tmp_path / "f.png", "--max-tokens", "3", fails=2
    )
