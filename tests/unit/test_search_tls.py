"""Certificates of a search source are read once, and again when they are others."""

from __future__ import annotations

import ssl

import pytest

from connectors.tls import trusting
from state.errors import ConfigurationError
from tests.unit.search_tls import CERTIFICATE


def test_the_same_certificates_are_read_once(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text(CERTIFICATE)
    first = trusting(file)
    assert trusting(file) is first
    assert trusting(None) is trusting(None)
    assert trusting(None) is not first
    for context in (first, trusting(None)):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(first.get_ca_certs()) == 1


def test_a_file_that_is_written_or_replaced_is_read_again(tmp_path):
    file, fresh = tmp_path / "ca.pem", tmp_path / "fresh.pem"
    file.write_text(CERTIFICATE)
    first = trusting(file)
    file.write_text(CERTIFICATE + "\n")
    second = trusting(file)
    fresh.write_text(CERTIFICATE + "\n")
    fresh.rename(file)  # as large, and in another place of the disk, as a mounted secret is replaced
    assert len({id(first), id(second), id(trusting(file))}) == 3


def test_a_file_that_is_gone_or_spoiled_is_refused_though_it_was_good(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text(CERTIFICATE)
    trusting(file)
    file.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"ca\.pem") as caught:
        trusting(file)
    assert caught.value.code == "ca_file"
    file.unlink()
    with pytest.raises(ConfigurationError):
        trusting(file)
    file.write_text(CERTIFICATE)
    assert len(trusting(file).get_ca_certs()) == 1
