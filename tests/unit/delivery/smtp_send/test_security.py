# SPDX-License-Identifier: MIT
"""SASL exchanges with a server's side that checks them."""

import base64

import pytest
from scramp import ScramMechanism

from bridgehead.delivery.smtp_send.sasl import choose_mechanism
from bridgehead.mail.secret import Secret


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
