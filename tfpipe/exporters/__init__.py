"""Exports: a model in a form that runs elsewhere. One file each, and one line in `EXPORTERS`."""
