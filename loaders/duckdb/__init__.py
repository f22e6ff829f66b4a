"""DuckDB as a target, with a directory as its stage."""
