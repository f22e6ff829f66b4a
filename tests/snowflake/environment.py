"""The test server's own environment: fakesnow and an older connector do not go together with ours."""

from __future__ import annotations

from tests.servers.environments import Environment

SERVER = Environment(
    "snowflake",
    (
        "fakesnow[server]==0.12.1",
        "snowflake-connector-python==4.8.1",
        "duckdb==2.0.1",
        "pyarrow==26.0.1",
        "sqlglot==30.22.0",
        "starlette==1.10.0",
        "uvicorn==0.54.0",
    ),
)
"""What decides how the server behaves is pinned; the rest is what these want."""
