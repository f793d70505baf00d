"""Files, processors, memory, and how PyTorch is loaded."""
