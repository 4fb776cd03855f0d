"""Settings: what counts over what, what is refused, and that the file in conf/ says the same as the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import PROJECT_ROOT, Settings, is_loopback, keys, load, render
from common.errors import StartRefused


def test_the_documented_file_is_what_the_code_says() -> None:
    assert (PROJECT_ROOT / "conf" / "entrance.toml").read_text() == render()


def test_the_documented_file_holds_every_key_and_nothing_but_the_defaults() -> None:
    assert load(PROJECT_ROOT / "conf" / "entrance.toml", {}) == Settings()


def test_every_key_is_explained_and_every_number_but_a_port_has_a_unit_and_a_lower_limit() -> None:
    for key in keys():
        assert key.doc.strip().endswith((".", '".')), key.path
        if (key.item or key.kind) is int:
            assert key.minimum is not None, key.path
            assert key.unit or key.name == "port", key.path


def test_file_then_environment_then_command_line_count(tmp_path: Path) -> None:
    conf = tmp_path / "own.toml"
    conf.write_text("[scheduler]\nslots = 3\nrunning_per_group = 4\n[service]\nport = 1\n")
    environ = {"ENTRANCE_SCHEDULER__SLOTS": "5", "ENTRANCE_SERVICE__PORT": "2"}
    settings = load(conf, environ, {"service.port": 7, "service.host": None})
    assert settings.scheduler.running_per_group == 4
    assert settings.scheduler.slots == 5
    assert settings.service.port == 7
    assert settings.service.host == "127.0.0.1"


def test_environment_values_take_the_type_of_their_key() -> None:
    settings = load(
        None,
        {
            "ENTRANCE_AUTH__LOGIN_ENCRYPT": "yes",
            "ENTRANCE_AUTH__ALLOWED_ORIGINS": "https://a.example, https://b.example",
            "ENTRANCE_RETRY__LADDER_SECONDS": "[1, 2]",
            "ENTRANCE_LIMITS__BODY_BYTES": "64KiB",
            "ENTRANCE_COMMANDS__HELLO__ARGV": '["/bin/echo", "hello, world"]',
        },
    )
    assert settings.auth.login_encrypt is True
    assert settings.auth.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.retry.ladder_seconds == (1, 2)
    assert settings.limits.body_bytes == 65536
    assert settings.commands == {"hello": ("/bin/echo", "hello, world")}


def test_environment_names_without_two_underscores_are_no_settings() -> None:
    assert load(None, {"ENTRANCE_TASK": "x/1-1", "ENTRANCE_TOKEN": "t", "ENTRANCE_SECRET_KEY": "k"}) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[scheduler]\nslotz = 1", "there is no setting scheduler.slotz (did you mean scheduler.slots?)"),
        ("[shedule]\nslots = 1", "there is no setting shedule.slots"),
        ("slots = 1", "there is no setting slots"),
        ("[scheduler]\nslots = '1'", "scheduler.slots must be a whole number, not '1'"),
        ("[scheduler]\nslots = true", "scheduler.slots must be a whole number, not True"),
        ("[scheduler]\nslots = -1", "scheduler.slots must be at least 0, not -1"),
        ("[service]\nport = 65536", "service.port must be at most 65535, not 65536"),
        ("[auth]\ntoken_enabled = 1", "auth.token_enabled must be true or false, not 1"),
        ("[auth]\nallowed_origins = 'x'", "auth.allowed_origins must be a list"),
        ("[content]\naccess = 'secret'", "content.access must be one of private, public, not 'secret'"),
        ("[limits]\nbody_bytes = '5 apples'", "must be a number of bytes or a size"),
        ("[commands.x]\nargv = []", 'commands.x must hold argv = ["program", ...]'),
        ("[commands.x]\nargv = ['a']\nshell = true", 'commands.x must hold argv = ["program", ...]'),
        ("[service\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence_that_names_it(tmp_path: Path, text: str, told: str) -> None:
    conf = tmp_path / "own.toml"
    conf.write_text(text)
    with pytest.raises(StartRefused) as caught:
        load(conf, {})
    assert told in str(caught.value)
    assert str(conf) in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(StartRefused) as caught:
        load(None, {"ENTRANCE_SERVICE__PORT": "x", "ENTRANCE_NO__SUCH": "1"})
    assert "ENTRANCE_SERVICE__PORT" in str(caught.value)
    assert "ENTRANCE_NO__SUCH" in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(StartRefused, match="cannot read the settings file"):
        load(Path("/nonexistent/entrance.toml"), {})


def test_trusting_loopback_is_refused_when_other_machines_can_come_in() -> None:
    trust = {"ENTRANCE_AUTH__TRUST_LOOPBACK": "alice"}
    assert load(None, trust).auth.trust_loopback == "alice"
    with pytest.raises(StartRefused, match="trust_loopback"):
        load(None, trust, {"service.host": "0.0.0.0"})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_addresses_are_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_data_folder_is_var_in_the_project_and_always_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(None, {}).data_folder == PROJECT_ROOT / "var"
    monkeypatch.chdir(tmp_path)
    assert load(None, {"ENTRANCE_SERVICE__DATA": "a/../here"}).data_folder == tmp_path / "here"
