"""The trust boundary for numbers: read a weights file (safetensors, never a pickle), check its
hash, build the network.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from avcheck.errors import ModelError, UsageError
from avcheck.machine.files import whole_file
from avcheck.network.make_head import Head
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind, ModelConfig
from avcheck.network.shipped import SHIPPED_SHA256, shipped_path
from avcheck.settings import DEVICES
from avcheck.verdict.posterior import Calibration

FORMAT = "avcheck-1"


@dataclass(frozen=True)
class Loaded:
    """A network ready to use, with what its file says of it."""

    net: SyncNet  # in evaluation mode
    sha256: str  # of the file
    device: torch.device  # where `net` is
    half: bool  # run in bfloat16, if the hardware does that faster
    calibration: dict[str, Any]  # as `posterior.Calibration` reads it
    training: dict[str, Any]  # how the weights were made


def load(
    path: Path | None = None, *, device: str = "auto", attention: AttentionKind | None = None
) -> Loaded:
    """Read weights and build the network in evaluation mode.

    Args:
        path: A weights file, which is read as data only, and whose hash is reported. None: the
            shipped one, which must have the hash that this version knows.
        device: "auto", "cpu", "cuda" or "mps".
        attention: The kind of head; None: the one that the file names.

    Raises:
        ModelError: The file is missing, damaged or not of this kind, or lacks that head.
        UsageError: The device is not there.
    """
    on_device = choose_device(device)
    source = shipped_path() if path is None else path
    tensors, metadata, digest = read_tensors(
        source, FORMAT, SHIPPED_SHA256 if path is None else None
    )
    try:
        config = _config(json.loads(metadata["config"]))
        if attention is not None:
            config = replace(config, attention=attention)
        prefix = f"heads.{config.attention}."
        names = {name: name for name in tensors if not name.startswith("heads.")}
        names |= {
            name: "head." + name.removeprefix(prefix) for name in tensors if name.startswith(prefix)
        }
        state = {own: _copied(tensors[name]) for name, own in names.items()}
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError("some are not finite numbers")
        # Only shapes are compared and nothing is allocated, as a hostile file could claim any
        # configuration.
        with torch.device("meta"):
            net = SyncNet(config)
        net.load_state_dict(state, assign=True)
        calibration = json.loads(metadata.get("calibration", "{}"))
        Calibration(**calibration)
        training = json.loads(metadata.get("training", "{}"))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(
            f"{source}: the weights do not fit the network ({_first_line(error)})"
        ) from error
    net.eval().requires_grad_(False).to(on_device)
    return Loaded(
        net=net,
        sha256=digest,
        device=on_device,
        half=half_is_fast(on_device),
        calibration=calibration,
        training=training,
    )


def read_tensors(
    source: Path, file_format: str, known_sha256: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Read a safetensors file.

    Args:
        source: The file.
        file_format: What its metadata must name as its format.
        known_sha256: The hash that it must have; None: any.

    Returns:
        Its tensors, which are mapped from the file, its metadata, and its SHA-256.

    Raises:
        ModelError: It cannot be read, or is of another format or hash.
    """
    try:
        if not source.is_file():  # reading a FIFO or a device might never end
            raise FileNotFoundError(errno.ENOENT, "no such file")
        with source.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or _first_line(error)
        raise ModelError(
            f"{source}: cannot read the weights ({why}); give a .safetensors file"
        ) from error
    if known_sha256 not in (None, digest):
        raise ModelError(
            f"{source}: the shipped weights are not the ones this version knows; install avcheck "
            "again"
        )
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{source}: not a safetensors file, or a damaged one; give weights written by avcheck "
            "train"
        ) from error
    if metadata.get("format") != file_format:
        problem = f"format {metadata.get('format')!r}, not {file_format!r}"
        raise ModelError(f"{source}: not weights of this version of avcheck ({problem})")
    return tensors, metadata, digest


def _copied(tensor: Tensor) -> Tensor:
    """A copy, of floats in single precision: the tensor is mapped from its file, which may be
    replaced while a check runs.
    """
    return tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def load_heads(
    own: Loaded, path: Path | None = None, *, device: str = "auto"
) -> dict[AttentionKind, Loaded]:
    """What `load` gave, `own`, and the same file with each of the paper's other heads; a run may
    have trained only one.
    """
    heads: dict[AttentionKind, Loaded] = {}
    for kind in ATTENTION_KINDS:
        if kind == own.net.config.attention:
            heads[kind] = own
            continue
        with suppress(ModelError):
            heads[kind] = load(path, device=device, attention=kind)
    return heads


def _config(stored: dict[str, Any]) -> ModelConfig:
    """The network's configuration, from the one stored in a file. Raises TypeError or ValueError
    if that does not fit.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return ModelConfig(**values)


def save(
    path: Path,
    net: SyncNet,
    heads: Mapping[AttentionKind, Head],
    *,
    calibration: dict[str, Any],
    training: dict[str, Any],
) -> str:
    """Write a weights file, as `load` reads it.

    Args:
        path: The file; its folders are made.
        net: The network, whose trunks are written and whose own head is not.
        heads: The heads to write.
        calibration: The fields of a `posterior.Calibration`.
        training: How the weights were made.

    Returns:
        The SHA-256 of the file.
    """
    tensors = {
        name: value for name, value in net.state_dict().items() if not name.startswith("head.")
    }
    for kind, head in heads.items():
        tensors |= {f"heads.{kind}.{name}": value for name, value in head.state_dict().items()}
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    config = asdict(net.config)
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config),
        "calibration": json.dumps(calibration),
        "training": json.dumps(training),
    }
    return write_tensors(path, flat, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write a safetensors file and return its SHA-256."""
    data = _ordered(serialize(tensors, metadata=metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _ordered(data: bytes) -> bytes:
    """A safetensors file with the entries of its header sorted: the library writes metadata in a
    new order each time, and the same training run should give the same hash.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises UsageError for a device this machine does
    not have.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "cuda: this machine (or this build of PyTorch) has no CUDA; use cpu", "device"
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            "mps: this machine (or this build of PyTorch) has no MPS; use cpu", "device"
        )
    if name not in DEVICES:
        raise UsageError(f"{name!r}: choose {', '.join(DEVICES[:-1])} or {DEVICES[-1]}", "device")
    return torch.device(name)


def half_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on this device. Among processors it is only on those
    with AMX's tiles; with AVX512's instructions it takes longer, and emulated eight times as long.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and "amx_bf16" in _cpu_flags() and not _is_held_below_amx()


def _is_held_below_amx(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment tells oneDNN, which computes PyTorch's convolutions, not to use the
    tiles: so one processor can stand in for a lesser one.
    """
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # oneDNN reads the first that is set
    most = next((environment[name].upper() for name in names if environment.get(name)), "DEFAULT")
    return most != "DEFAULT" and "AMX" not in most


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return next(
        (set(line.split()) for line in text.splitlines() if line.startswith("flags")), set()
    )


def _first_line(error: BaseException) -> str:
    """An error in one line. PyTorch's begin with a heading that ends in a colon; the fault
    follows.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        type(error).__name__
    ]
    return " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])[:200]
