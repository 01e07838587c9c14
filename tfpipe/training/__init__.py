"""Losses, optimisers and the loop that fits a network."""
