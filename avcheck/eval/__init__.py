"""Measurements of the shipped weights on clips that training never saw (`avcheck eval`)."""
