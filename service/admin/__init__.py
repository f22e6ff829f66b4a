"""What the daemon answers over HTTP: probes and metrics on one port, admin API and status page on another."""
