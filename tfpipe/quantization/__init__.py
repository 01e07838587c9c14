"""Weights of few bits: the grid they lie on, and networks rounded to it."""
