# SPDX-License-Identifier: MIT
"""Configuration files: merging, and every mistake named with file, line and remedy."""

from pathlib import Path

import pytest

from bridgehead.receive.settings import AuthMechanism
from bridgehead.server.config.load import load, read
from bridgehead.server.config.problem import ConfigurationError, nearest


def write(folder: Path, text: str, **parts: str) -> Path:
    main = folder / "bridgehead.toml"
    main.write_text(text)
    if parts:
        (folder / "conf.d").mkdir()
        for name, part in parts.items():
            (folder / "conf.d" / f"{name}.toml").write_text(part)
    return main


def problems(path: Path) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return [(problem.line, problem.path, problem.message + " " + problem.remedy) for problem in caught.value.problems]


def test_units_enums_and_defaults_are_decoded(tmp_path: Path) -> None:
    loaded = load(
        write(
            tmp_path,
            '[queues]\nmessage_retry_interval = "00:05:00"\n[[receive_connectors]]\nname = "A"\n'
            'bindings = ["127.0.0.1:25"]\nmax_message_size = "10 MB"\nauth_mechanism = ["Tls", "BasicAuth"]\n',
        )
    )
    connector = loaded.configuration.receive_connectors[0]
    assert connector.max_message_size == 10 * 1024**2
    assert connector.auth_mechanism == [AuthMechanism.TLS, AuthMechanism.BASIC_AUTH]
    assert connector.remote_ip_ranges == ["0.0.0.0/0", "::/0"]
    assert loaded.configuration.queues.message_retry_interval.total_seconds() == 300
    assert loaded.findings.problems == []


def test_tables_of_several_files_merge_and_arrays_of_tables_append(tmp_path: Path) -> None:
    loaded = load(
        write(
            tmp_path,
            '[server]\nfqdn = "a.test"\n[[accepted_domains]]\ndomain_name = "one.test"\n',
            b='[[accepted_domains]]\ndomain_name = "three.test"\n',
            a='server.data_directory = "data"\n[[accepted_domains]]\ndomain_name = "two.test"\n',
        )
    )
    assert [domain.domain_name for domain in loaded.configuration.accepted_domains] == [
        "one.test", "two.test", "three.test",
    ]  # fmt: skip
    assert loaded.configuration.server.fqdn == "a.test"
    assert loaded.data_directory == tmp_path / "data"
    assert [file.name for file in loaded.files] == ["bridgehead.toml", "a.toml", "b.toml"]


def test_the_same_setting_in_two_files_names_both(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nfqdn = "a.test"\n', extra='\n[server]\nfqdn = "b.test"\n')
    [problem] = read(path).findings.problems
    assert problem.file == str(path)
    assert problem.line == 2
    assert f"{tmp_path}/conf.d/extra.toml:3" in problem.message


def test_a_setting_in_the_wrong_table_is_told_where_it_belongs(tmp_path: Path) -> None:
    found = problems(
        write(
            tmp_path,
            "[[receive_connectors]]\n"
            'name = "A"\n'
            'bindings = ["0.0.0.0:25"]\n'
            "workers = 2\n"
            "quux = 1\n"
            "[[receive_connectors.extended_rights]]\n"
            'principal = "Anonymous"\n'
            'max_message_size = "10 MB"\n',
        )
    )
    texts = {line: text for line, _, text in found}
    assert "it is a setting of [server]" in texts[4]
    assert "known here: anti_spoofing_enabled, " in texts[5]
    assert texts[5].endswith("… (docs/reference/settings.md)")
    assert "it is a setting of [[receive_connectors]]: write it above this table" in texts[8]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = problems(
        write(
            tmp_path,
            "[server]\n"
            "fqdn = 3\n"
            'datadirectory = "x"\n'
            "[[receive_connectors]]\n"
            'name = "A"\n'
            'bindings = ["0.0.0.0:25",\n'
            "  5]\n"
            'auth_mechanism = ["Tsl"]\n'
            'MaxMessageSize = "3 MB"\n'
            'tarpit_interval = "soon"\n'
            "[[receive_connectors]]\n"
            'binding = ["x"]\n'
            "[receive]\n",
        )
    )
    assert [(line, path) for line, path, _ in found] == [
        (2, "server.fqdn"),
        (3, "server.datadirectory"),
        (7, "receive_connectors[0].bindings[1]"),
        (8, "receive_connectors[0].auth_mechanism[0]"),
        (9, "receive_connectors[0].MaxMessageSize"),
        (10, "receive_connectors[0].tarpit_interval"),
        (12, "receive_connectors[1].binding"),
        (11, "receive_connectors[1].name"),
        (11, "receive_connectors[1].bindings"),
        (13, "receive"),
    ]
    texts = [text for _, _, text in found]
    assert "did you mean `data_directory`?" in texts[1]
    assert 'did you mean "Tls"?' in texts[3]
    assert "did you mean `max_message_size`?" in texts[4]
    assert '"00:10:00"' in texts[5]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("poison_threshold = true", "a whole number was expected, not true"),
        ("poison_threshold = 2.5", "a whole number was expected, not 2.5"),
        ('retry_jitter = "0.1"', 'a number was expected, not "0.1"'),
        ("queue_database_path = []", "text in quotes was expected, not a list"),
        ("queue_max_idle_time = false", "a time such as"),
    ],
)
def test_wrong_types_say_what_was_expected(tmp_path: Path, line: str, expected: str) -> None:
    [(number, _, text)] = problems(write(tmp_path, f"[queues]\n{line}\n"))
    assert number == 2
    assert expected in text


def test_a_table_where_a_list_of_tables_belongs_says_how_to_write_it(tmp_path: Path) -> None:
    [(_, path, text)] = problems(write(tmp_path, '[accepted_domains]\ndomain_name = "a.test"\n'))
    assert path == "accepted_domains"
    assert "[[accepted_domains]]" in text


def test_syntax_errors_name_file_and_line_for_every_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, "[server]\nfqdn = mail\n", a='x = "open\n'))
    assert [(Path(p.file).name, p.line) for p in caught.value.problems] == [("bridgehead.toml", 2), ("a.toml", 1)]
    assert "no TOML" in str(caught.value)


def test_a_missing_file_and_wrong_encoding_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "bridgehead.toml")
    (tmp_path / "bridgehead.toml").write_bytes(b'[server]\nfqdn = "\xff"\n')
    with pytest.raises(ConfigurationError, match="no UTF-8"):
        load(tmp_path / "bridgehead.toml")


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, '[server]\n"\\u001b[31m" = 1\n'))
    assert "\x1b" not in str(caught.value.problems[0])


def test_nearest_word_understands_exchange_spelling() -> None:
    known = ["max_message_size", "require_tls", "smart_hosts"]
    assert nearest("MaxMessageSize", known) == "max_message_size"
    assert nearest("RequireTLS", known) == "require_tls"
    assert nearest("SmartHost", known) == "smart_hosts"
    assert nearest("xyzzy", known) == ""
