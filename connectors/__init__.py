"""Reads: one module or folder per source system, all behind `connectors.base.Connector`."""
