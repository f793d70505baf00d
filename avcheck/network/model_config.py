"""What the network is built of: the settings inside a weights file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AttentionKind = Literal["uniform", "temporal", "spatio-temporal", "transformer"]
# The paper's, in every weights file
ATTENTION_KINDS: tuple[AttentionKind, ...] = ("uniform", "temporal", "spatio-temporal")
HEAD_KINDS: tuple[AttentionKind, ...] = (*ATTENTION_KINDS, "transformer")
FusionKind = Literal["cross", "self"]
FUSION_KINDS: tuple[FusionKind, ...] = ("cross", "self")
BLOCK_FRAMES = 25  # the paper, section 3.1
BLOCK_TIMES = 5  # T': joint features are averaged over 5 pictures (0.2 s) within a block
TOKEN_S = 1 / BLOCK_FRAMES  # between two sound features, and between two pictures at 25 fps


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to rebuild the network; it travels inside the weights file."""

    mel_bins: int = 64  # of the log-mel spectrum
    stem_frames: int = 5  # pictures seen by the first convolution
    # after each stage of the visual trunk
    visual_channels: tuple[int, int, int, int] = (24, 64, 128, 192)
    # after each stage of the sound trunk
    sound_channels: tuple[int, int, int, int] = (32, 64, 96, 128)
    width: int = 192  # channels of the 1-D convolutions over time, in both trunks
    embedding: int = 64  # D
    joint_channels: int = 64  # C
    attention: AttentionKind = "spatio-temporal"  # the kind of head
    contrast_px: int = 41  # side of the square for local contrast normalisation
    # Follow what moves from picture to picture before looking along time (`neighbours`)
    alignment: bool = False
    # Of the transformer: sound attends to pictures, or each to its own kind only
    fusion: FusionKind = "cross"
    attention_heads: int = 4  # of the transformer

    def __post_init__(self) -> None:
        """Raises ValueError for what no tensor of a weights file would contradict."""
        if self.contrast_px < 1:
            raise ValueError(f"contrast_px must be at least 1, not {self.contrast_px}")
        if self.attention_heads < 1 or self.embedding % (2 * self.attention_heads):
            raise ValueError(
                f"attention_heads must divide half of embedding, {self.embedding // 2}, not "
                f"{self.attention_heads}"
            )

    @property
    def keep_places(self) -> int | None:
        """How many places the head looks at, those that go best with the sound (`best_places`);
        None: the whole picture.
        """
        return {"spatio-temporal": 32, "transformer": 12}.get(self.attention)
