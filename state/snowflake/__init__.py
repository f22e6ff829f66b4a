"""Snowflake sessions, shared by the drive table and the loader: login, parameters, tags, names, errors."""
