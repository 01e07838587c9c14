"""Losses: soft, against teachers, and hard, against the labels."""

from tfpipe.training.losses.hard import HardLoss, cross_entropy
from tfpipe.training.losses.soft import LOSSES, Loss
from tfpipe.training.losses.soft_labels import SMALLEST, SoftLabels

__all__ = ["LOSSES", "SMALLEST", "HardLoss", "Loss", "SoftLabels", "cross_entropy"]
