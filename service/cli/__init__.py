"""The command `sluiceway`: signatures in `commands`, what they do in a module for each kind of work."""
