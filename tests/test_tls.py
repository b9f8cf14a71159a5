"""Certificates: what cannot be used is named before anything starts, and what is renewed is taken up whole or not."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import certificates
import pytest

from modelyard import tls
from modelyard.errors import UsageError


def refused(chain: Path | None, key: Path | None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        tls.certificate(chain, key)
    return caught.value


def served_serial(found: tls.Certificate) -> int:
    """The serial number that a client meets now."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with found.context.wrap_socket(theirs, server_side=True) as end:
            end.recv(1)

    server = threading.Thread(target=answer)
    server.start()
    with client.wrap_socket(ours) as end:
        shown = end.getpeercert(binary_form=True)
        end.send(b"x")
    server.join()
    assert shown is not None
    return certificates.x509.load_der_x509_certificate(shown).serial_number


def test_without_certificate_and_key_there_is_no_tls() -> None:
    assert tls.certificate(None, None) is None


def test_one_without_the_other_is_refused_and_the_missing_one_named(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    assert "tls_cert is set and tls_key is not" in refused(pair.chain, None).detail
    assert "tls_key is set and tls_cert is not" in refused(None, pair.key).detail


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    error = refused(pair.chain, tmp_path / "nowhere.pem")
    assert error.detail == f"tls_key: {tmp_path / 'nowhere.pem'} cannot be read: No such file or directory"
    assert str(tmp_path) in refused(tmp_path, pair.key).detail


def test_what_is_no_pem_is_named_with_the_file_it_is_in(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(bytes(range(256)))
    assert f"tls_cert: {wrong} holds no certificate in PEM form" in refused(wrong, pair.key).detail
    assert f"tls_key: {wrong} holds no private key in PEM form" in refused(pair.chain, wrong).detail
    # Exchanged, they are PEM both, and neither is what it should be.
    assert f"tls_cert: {pair.key} holds no certificate" in refused(pair.key, pair.chain).detail


def test_a_broken_pem_is_refused(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    pair.chain.write_text("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n")
    assert str(pair.chain) in refused(pair.chain, pair.key).detail


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificates.make(tmp_path / "other")
    assert f"{other.key} is not the key of the certificate in {pair.chain}" in refused(pair.chain, other.key).detail


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, password="secret")
    error = refused(pair.chain, pair.key)
    assert "is encrypted with a password" in error.detail
    assert error.hint is not None
    assert "openssl pkey" in error.hint


def test_a_renewed_pair_is_served_to_those_who_come_then(tmp_path: Path) -> None:
    first = certificates.make(tmp_path, days=1)
    found = tls.certificate(first.chain, first.key)
    assert found is not None
    assert not found.renew()
    expiry = found.expires_at
    second = certificates.make(tmp_path, days=90)
    assert served_serial(found) == first.serial
    assert found.renew()
    assert served_serial(found) == second.serial
    assert found.expires_at > expiry


def test_a_pair_that_is_half_renewed_leaves_the_old_one_in_use_until_it_is_whole(tmp_path: Path) -> None:
    first = certificates.make(tmp_path)
    found = tls.certificate(first.chain, first.key)
    assert found is not None
    (tmp_path / "new").mkdir()
    second = certificates.make(tmp_path / "new")
    shutil.copyfile(second.chain, first.chain)
    with pytest.raises(UsageError, match="is not the key"):
        found.renew()
    assert served_serial(found) == first.serial
    # Said once for one state of the files.
    assert not found.renew()
    shutil.copyfile(second.key, first.key)
    assert found.renew()
    assert served_serial(found) == second.serial


def test_files_that_are_away_for_a_moment_leave_the_old_pair_in_use(tmp_path: Path) -> None:
    first = certificates.make(tmp_path)
    found = tls.certificate(first.chain, first.key)
    assert found is not None
    first.key.rename(tmp_path / "away")
    with pytest.raises(UsageError, match="cannot be read"):
        found.renew()
    assert served_serial(found) == first.serial
    (tmp_path / "away").rename(first.key)
    assert found.renew()
    assert served_serial(found) == first.serial


def test_a_connection_keeps_the_certificate_that_it_came_to(tmp_path: Path) -> None:
    """And the context that servers were given stays the one that they ask."""
    first = certificates.make(tmp_path)
    found = tls.certificate(first.chain, first.key)
    assert found is not None
    given = found.context
    before = given.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    certificates.make(tmp_path)
    assert found.renew()
    assert found.context is given
    after = given.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert before.context is not after.context


@pytest.mark.anyio
async def test_the_files_are_looked_at_without_being_asked_and_a_wrong_pair_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = certificates.make(tmp_path)
    found = tls.certificate(first.chain, first.key)
    assert found is not None
    watching = asyncio.create_task(found.watch(asyncio.Event(), every=0.01))
    first.chain.write_text("nonsense")
    await _until(lambda: "the one before stays" in caplog.text)
    await asyncio.sleep(0.1)
    assert caplog.text.count("the one before stays") == 1
    assert served_serial(found) == first.serial
    second = certificates.make(tmp_path)
    await _until(lambda: served_serial(found) == second.serial)
    watching.cancel()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_certificate_that_expires_is_spoken_of(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, days=3)
    found = tls.certificate(pair.chain, pair.key)
    assert found is not None
    said: list[str] = []
    tls.warn_of_expiry(found, found.expires_at - 30 * 86400, said.append)
    assert said == []
    tls.warn_of_expiry(found, found.expires_at - 3 * 86400, said.append)
    tls.warn_of_expiry(found, found.expires_at + 1, said.append)
    assert said[0] == "The certificate expires in 3 days."
    assert "has expired" in said[1]
