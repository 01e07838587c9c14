"""From labelled data to an honest, verified classifier in the browser."""

__version__ = "0.1.0"
