"""Formats in which photos come. Others are not even tried: each decoder is a door, and EPS starts a program."""

PHOTOS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""As Pillow's openers are named; an MPO is opened as the JPEG that it begins with."""
