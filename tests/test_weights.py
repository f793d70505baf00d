"""The trust boundary: what `save` writes comes back the same, and nothing else gets in."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from avcheck.errors import ModelError, UsageError
from avcheck.network import quantised, weights
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind, ModelConfig
from tests.support.networks import CALIBRATION, TINY, network, written

torch.set_num_threads(1)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    written(tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, str]], None]) -> Path:
    """The same file with its tensors and metadata changed."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)
    return path


def refused(path: Path, **options: Any) -> str:
    """The message of the error that loading raises: one line that names the file."""
    with pytest.raises(ModelError) as caught:
        weights.load(path, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < len(str(path)) + 400
    return message


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_what_is_saved_comes_back(tmp_path: Path, kind: AttentionKind) -> None:
    path = tmp_path / "new" / "folder" / "w.safetensors"
    net, heads = network()
    digest = weights.save(path, net, heads, calibration=CALIBRATION, training={"seed": 7})
    loaded = weights.load(path, device="cpu", attention=kind)
    assert loaded.sha256 == digest
    assert len(digest) == 64
    assert loaded.calibration == CALIBRATION
    assert loaded.training == {"seed": 7}
    assert loaded.device == torch.device("cpu")
    assert loaded.net.config == ModelConfig(**{**vars(TINY), "attention": kind})
    assert not loaded.net.training
    assert not any(parameter.requires_grad for parameter in loaded.net.parameters())
    net.head = heads[kind]
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], value), name
        assert loaded.net.state_dict()[name].dtype == value.dtype
    pictures, mel = (
        torch.randint(0, 256, (1, 25, 48, 48), dtype=torch.uint8),
        torch.randn(1, 100, 64),
    )
    with torch.inference_mode():
        assert torch.equal(loaded.net(pictures, mel).logits, net.eval()(pictures, mel).logits)


def test_the_files_own_kind_of_attention_is_the_default(good: Path) -> None:
    assert weights.load(good, device="cpu").net.config.attention == "spatio-temporal"


def test_saving_twice_gives_the_same_hash(tmp_path: Path) -> None:
    assert written(tmp_path / "a.safetensors") == written(tmp_path / "b.safetensors")


def test_half_precision_files_are_read(good: Path) -> None:
    """A file may be halved in size; the network is built in float32 all the same."""
    rewritten(
        good,
        lambda tensors, _: tensors.update(
            {k: v.half() for k, v in tensors.items() if v.is_floating_point()}
        ),
    )
    loaded = weights.load(good, device="cpu")
    assert {p.dtype for p in loaded.net.parameters()} == {torch.float32}


# The shipped file


def test_the_shipped_file_must_have_its_hash(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "shipped_path", lambda: good)
    with pytest.raises(ModelError, match="not the ones this version knows") as caught:
        weights.load(None, device="cpu")
    assert "install avcheck again" in str(caught.value)
    own = weights.load(good, device="cpu").sha256
    monkeypatch.setattr(weights, "SHIPPED_SHA256", own)
    assert weights.load(None, device="cpu").sha256 == own
    # One bit is enough to be refused.
    data = bytearray(good.read_bytes())
    data[-1] ^= 1
    good.write_bytes(data)
    with pytest.raises(ModelError, match="not the ones this version knows"):
        weights.load(None, device="cpu")


# Files that are not weights


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.safetensors").lower()


def test_a_directory_is_a_model_error(tmp_path: Path) -> None:
    refused(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"not weights at all",
        b"\0" * 4096,
        b"\xff" * 64,
        struct.pack("<Q", 4096) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 8) + b'{"a": 1}',
    ],
    ids=["empty", "one-byte", "text", "zeros", "ones", "long-header", "no-tensors", "no-shape"],
)
def test_junk_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "junk.safetensors"
    path.write_bytes(data)
    assert "header" not in refused(path)  # a word of the library


def test_a_truncated_file_is_refused(good: Path) -> None:
    data = good.read_bytes()
    for size in (4, 100, len(data) // 2, len(data) - 1):
        good.write_bytes(data[:size])
        refused(good)


def test_a_pickle_is_refused_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle can run what it likes, so nothing may even begin to read one."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"weights": [0.0]}))
    other = tmp_path / "v.safetensors"
    torch.save({"weights": torch.zeros(3)}, other)
    for reader in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, reader, pytest.fail)
    monkeypatch.setattr(torch, "load", pytest.fail)
    refused(path)
    refused(other)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(3)}, path)
    assert "not weights of this version" in refused(path)
    save_file({"w": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert "'pt'" in refused(path)


# Files that nearly are


@pytest.mark.parametrize(
    "name", ["visual.project.weight", "sound.mix.0.weight", "heads.spatio-temporal.joint.0.bias"]
)
def test_a_tensor_of_the_wrong_shape_is_named(good: Path, name: str) -> None:
    rewritten(good, lambda tensors, _: tensors.update({name: torch.zeros(3, 5)}))
    assert "do not fit the network" in refused(good)
    assert name.removeprefix("heads.spatio-temporal.") in refused(good)


def test_a_missing_tensor_is_refused(good: Path) -> None:
    rewritten(good, lambda tensors, _: tensors.__delitem__("visual.project.bias"))
    assert "visual.project.bias" in refused(good)


def test_an_extra_tensor_is_refused(good: Path) -> None:
    rewritten(good, lambda tensors, _: tensors.update({"visual.spare": torch.zeros(3)}))
    assert "visual.spare" in refused(good)


def test_a_kind_of_attention_that_is_not_in_the_file_is_refused(good: Path) -> None:
    def drop(tensors: dict[str, Any], _: dict[str, str]) -> None:
        for name in [name for name in tensors if name.startswith("heads.temporal.")]:
            del tensors[name]

    rewritten(good, drop)
    weights.load(good, device="cpu")
    refused(good, attention="temporal")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(good: Path, value: float) -> None:
    rewritten(
        good, lambda tensors, _: tensors.update({"visual.project.bias": torch.full((8,), value)})
    )
    assert "finite" in refused(good)


@pytest.mark.parametrize(
    "config",
    [
        "nonsense",
        "[1, 2]",
        "3",
        '"text"',
        '{"width": "wide"}',
        '{"width": -4}',
        '{"heads": 3}',
        '{"attention": "spatial"}',
        '{"sound_channels": [4, 8]}',
        # Nothing of that size is ever allocated: the file's tensors are compared first.
        '{"width": 1000000000}',
        '{"embedding": 1000000}',
        '{"embedding": 10000000000000000000}',
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(good: Path, config: str) -> None:
    rewritten(good, lambda _, metadata: metadata.update(config=config))
    refused(good)


@pytest.mark.parametrize(
    ("name", "value"),
    [("contrast_px", 0), ("attention_heads", 0), ("attention_heads", 3)],
)
def test_a_configuration_that_no_tensor_contradicts_is_refused_too(
    good: Path, name: str, value: int
) -> None:
    def change(_: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | {name: value})

    rewritten(good, change)
    assert f"{name} must" in refused(good)


def test_a_file_without_a_configuration_is_refused(good: Path) -> None:
    rewritten(good, lambda _, metadata: metadata.__delitem__("config"))
    assert "config" in refused(good)


@pytest.mark.parametrize(
    "calibration",
    [
        "nonsense",
        "[]",
        "null",
        '{"temprature": 2}',
        '{"temperature": 0}',
        '{"none": NaN}',
        '{"decide": "high"}',
        '{"guard_ms": null}',
    ],
)
def test_a_calibration_of_nonsense_is_refused(good: Path, calibration: str) -> None:
    """Here, and not as a crash, or a verdict, in the middle of a check."""
    rewritten(good, lambda _, metadata: metadata.update(calibration=calibration))
    refused(good)


def test_a_file_without_calibration_takes_the_defaults(good: Path) -> None:
    rewritten(good, lambda _, metadata: metadata.__delitem__("calibration"))
    assert weights.load(good, device="cpu").calibration == {}


def test_metadata_is_plain_json(good: Path) -> None:
    """Anybody can read what a file says of itself without this package."""
    data = good.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    assert header["format"] == weights.FORMAT
    assert json.loads(header["config"])["width"] == TINY.width
    assert json.loads(header["training"]) == {"seed": 7}


# Devices


@pytest.mark.parametrize("name", ["gpu", "", "cuda:0", "CPU", "meta"])
def test_an_unknown_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="choose auto, cpu, cuda or mps"):
        weights.choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_absent_device_is_a_usage_error(
    name: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"^device: {name}: .* use cpu"):
        weights.load(good, device=name)
    assert weights.choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_there_is(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert weights.choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    ("flags", "environment", "fast"),
    [
        ({"avx2"}, {}, False),
        ({"avx512_bf16"}, {}, False),
        ({"avx512_bf16", "amx_bf16"}, {}, True),
        ({"amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ({"amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "avx512_core_bf16"}, False),
        ({"amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "avx512_core_amx"}, True),
        ({"amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "DEFAULT", "DNNL_MAX_CPU_ISA": "AVX2"}, True),
        ({"amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX2"}, False),
    ],
)
def test_bfloat16_is_for_processors_whose_tiles_are_used(
    flags: set[str], environment: dict[str, str], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is told to do without them stands for one that has none."""
    monkeypatch.setattr(weights, "_cpu_flags", lambda: flags)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert weights.half_is_fast(torch.device("cpu")) is fast


@pytest.mark.parametrize(
    ("capability", "engines", "pays"),
    [
        ("AVX2", ["qnnpack", "onednn", "x86", "fbgemm"], True),
        ("AVX2", ["qnnpack"], False),
        # Linux on aarch64, which names the engines of x86 too; an Arm server with SVE; a Mac
        ("DEFAULT", ["qnnpack", "onednn", "x86", "fbgemm"], False),
        ("SVE256", ["qnnpack", "onednn"], False),
        ("DEFAULT", ["qnnpack"], False),
    ],
)
def test_eight_bits_are_for_processors_that_are_known_to_gain(
    capability: str, engines: list[str], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", engines)
    cpu = torch.device("cpu")
    assert quantised.is_supported(cpu) is pays
    features = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nCPU implementer\t: 0x41\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: features)
    assert not weights.half_is_fast(cpu)
