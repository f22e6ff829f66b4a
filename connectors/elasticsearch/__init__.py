"""Elasticsearch and OpenSearch as a source."""
