"""The network over a title: from pictures and sound to score curves."""
