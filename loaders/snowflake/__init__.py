"""Snowflake as a target."""
