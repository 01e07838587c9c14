"""Exports: a model in a form that runs elsewhere, the page around it, and the browser that checks it."""
