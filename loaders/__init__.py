"""Writes: Parquet chunks, the stage, and the target, all behind `loaders.base.Loader`."""
