"""The heads by the kind of their attention."""

from __future__ import annotations

from avcheck.network.heads import JointHead, TransformerHead
from avcheck.network.model_config import ModelConfig

Head = JointHead | TransformerHead


def make_head(config: ModelConfig) -> Head:
    """A fresh head of the kind that `config.attention` names."""
    return TransformerHead(config) if config.attention == "transformer" else JointHead(config)
