"""Remembers: the nouns of Sluiceway, window arithmetic, errors, and the drive table with its backends.

Nothing here imports `service`, `connectors` or `loaders`; all of them import this package.
"""
