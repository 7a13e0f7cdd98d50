# SPDX-License-Identifier: MIT
"""SASL exchanges with a server's side that checks them."""

import base64
import ssl

import pytest
from scramp import ScramException, ScramMechanism

from bridgehead.delivery.smtp_send.sasl import choose_mechanism, choose_token_mechanism, end_point
from bridgehead.mail.secret import Secret
from support.certificates import Authority


def test_the_best_mechanism_is_chosen():
    def chosen(*offered):
        found = choose_mechanism(offered, "u", Secret("p"))
        return found.mechanism if found else None

    assert chosen("LOGIN", "PLAIN", "SCRAM-SHA-256") == "SCRAM-SHA-256"
    assert chosen("LOGIN", "PLAIN") == "PLAIN"
    assert chosen("LOGIN") == "LOGIN"
    assert chosen("GSSAPI", "NTLM") is None


def test_plain_and_login():
    plain = choose_mechanism(["PLAIN"], "user", Secret("pass"))
    assert plain.initial_response() == b"\0user\0pass"
    with pytest.raises(ValueError):
        plain.respond(b"")
    login = choose_mechanism(["LOGIN"], "user", Secret("pass"))
    assert login.initial_response() is None
    assert [login.respond(b"Username:"), login.respond(b"Password:")] == [b"user", b"pass"]
    with pytest.raises(ValueError):
        login.respond(b"again")


def scram_server(password):
    mechanism = ScramMechanism("SCRAM-SHA-256")
    stored = mechanism.make_auth_info(password)
    return mechanism.make_server(lambda user: stored)


def test_scram_with_a_real_server():
    client, server = choose_mechanism(["SCRAM-SHA-256"], "user", Secret("pass")), scram_server("pass")
    server.set_client_first(client.initial_response().decode())
    final = client.respond(server.get_server_first().encode())
    server.set_client_final(final.decode())
    assert client.respond(server.get_server_final().encode()) == b""


def test_scram_does_not_believe_a_server_that_does_not_know_the_password():
    client, server = choose_mechanism(["SCRAM-SHA-256"], "user", Secret("pass")), scram_server("pass")
    server.set_client_first(client.initial_response().decode())
    client.respond(server.get_server_first().encode())
    with pytest.raises(ValueError, match="SCRAM"):
        client.respond(b"v=" + base64.b64encode(b"x" * 32))


@pytest.mark.parametrize("challenge", [b"", b"\xff", b"r=x", b"r=x,s=,i=0", b"nonsense" * 100])
def test_scram_with_malformed_challenges(challenge):
    client = choose_mechanism(["SCRAM-SHA-256"], "user", Secret("pass"))
    client.initial_response()
    with pytest.raises(ValueError):
        client.respond(challenge)


# --- bound to the connection -----------------------------------------------------------------------------------------


def bound_server(password, certificate):
    mechanism = ScramMechanism("SCRAM-SHA-256-PLUS")
    stored = mechanism.make_auth_info(password)
    return mechanism.make_server(lambda user: stored, channel_binding=("tls-server-end-point", end_point(certificate)))


def in_der(pair):
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def test_scram_is_bound_to_the_certificate(tmp_path):
    authority = Authority(tmp_path)
    ours, theirs = in_der(authority.issue("mx.test")), in_der(authority.issue("attacker.test"))
    offered = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    client, server = choose_mechanism(offered, "user", Secret("pass"), ours), bound_server("pass", ours)
    assert client.mechanism == "SCRAM-SHA-256-PLUS"
    server.set_client_first(client.initial_response().decode())
    server.set_client_final(client.respond(server.get_server_first().encode()).decode())
    assert client.respond(server.get_server_final().encode()) == b""
    client, server = choose_mechanism(offered, "user", Secret("pass"), theirs), bound_server("pass", ours)
    with pytest.raises(ScramException):  # noqa: PT012 - the library notices in the first or the last step
        server.set_client_first(client.initial_response().decode())
        server.set_client_final(client.respond(server.get_server_first().encode()).decode())


def test_scram_without_a_certificate_is_not_bound():
    assert choose_mechanism(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"], "u", Secret("p")).mechanism == "SCRAM-SHA-256"


# --- access tokens -----------------------------------------------------------------------------------------------------


def test_oauthbearer_is_preferred_and_well_formed():
    assert choose_token_mechanism(["PLAIN"], "u", Secret("t"), "mx.test", 587) is None
    sasl = choose_token_mechanism(["XOAUTH2", "OAUTHBEARER"], "a=b,c@x.test", Secret("t0k"), "mx.test", 587)
    assert sasl.mechanism == "OAUTHBEARER"
    assert sasl.initial_response() == b"n,a=a=3Db=2Cc@x.test,\1host=mx.test\1port=587\1auth=Bearer t0k\1\1"
    assert sasl.respond(b'{"status":"invalid_token"}') == b"\1"
    assert sasl.error == '{"status":"invalid_token"}'
    with pytest.raises(ValueError):
        sasl.respond(b"again")


def test_xoauth2_answers_the_error_with_nothing():
    sasl = choose_token_mechanism(["XOAUTH2"], "u@x.test", Secret("t0k"), "mx.test", 587)
    assert sasl.initial_response() == b"user=u@x.test\1auth=Bearer t0k\1\1"
    assert sasl.respond(b'{"status":"401"}\r\n\x1b[31m') == b""
    assert "\x1b" not in sasl.error


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_long_tokens_wait_until_the_server_asks(mechanism):
    sasl = choose_token_mechanism([mechanism], "u@x.test", Secret("t" * 2000), "mx.test", 587)
    assert sasl.initial_response() is None
    assert sasl.respond(b"").endswith(b"t" * 2000 + b"\1\1")
    sasl.respond(b"{}")
    assert sasl.error == "{}"
