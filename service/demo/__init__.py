"""The demo: `sluiceway demo`, `make demo`."""

from service.demo.story import run_demo

__all__ = ["run_demo"]
