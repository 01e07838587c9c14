"""Answers over HTTP, of any model that is a function of a batch.

`guard` says who may ask, `questions` what, `batching` joins what is asked at the same time, `drift` compares the
answers with those of the validation split, `metrics` tells of it all, `service` and `app` put it together, `server`
runs it, over
`connections`, and `workers` runs several.
"""
