"""Decides: when, how often, in what order, how to stop; and talks to the operator."""
