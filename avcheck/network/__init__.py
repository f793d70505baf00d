"""The classifier and its weights."""
