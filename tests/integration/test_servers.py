"""The servers of the suite are the real ones that they are named after."""

from __future__ import annotations


def test_the_server_is_the_release_that_it_is_named_after(server):
    [node] = server.client.call("GET", "/_nodes")["nodes"].values()
    assert node["version"] == server.release.version
    assert ("build_flavor" in node) != server.release.is_opensearch  # a word of Elasticsearch alone
