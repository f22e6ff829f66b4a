"""The long-running worker: many pipelines in one process, each looked at on time, supervised, stopped cleanly."""
