"""Settings whose value is in a file: what is read, and the sentence of everything that can be wrong with the file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from controller.errors import SettingsError
from controller.settings import FILE_FIELDS, file_field, load_settings, variable
from tests.cli.support import run
from tests.settings.test_settings import GOOD, SECRET

VALUES = {variable(field): GOOD[variable(field)] for field in FILE_FIELDS if variable(field) in GOOD}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ROOMKEEPER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(name="secrets")
def _secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Secrets as the chart mounts them, complete, with every setting naming its key."""
    root = tmp_path / "etc" / "roomkeeper" / "secrets"
    for field, secret, key in (
        ("livekit_url", "roomkeeper-livekit", "url"),
        ("livekit_api_key", "roomkeeper-livekit", "api-key"),
        ("livekit_api_secret", "roomkeeper-livekit", "api-secret"),
        ("redis_url", "roomkeeper-redis", "url"),
    ):
        mount(root / secret, key, GOOD[variable(field)])
        monkeypatch.setenv(variable(file_field(field)), str(root / secret / key))
    return root


def mount(directory: Path, key: str, value: str) -> None:
    """Write a key as the kubelet does: a link into a directory whose name begins with two dots."""
    (directory / "..data").mkdir(parents=True, exist_ok=True)
    (directory / "..data" / key).write_text(value)
    if not (directory / key).is_symlink():
        (directory / key).symlink_to(Path("..data") / key)


def complaint(**flags: str) -> str:
    """The one sentence about the settings as they are, after the name of the variable."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    first, line = str(caught.value).splitlines()
    assert first == "roomkeeper operator: a setting is wrong"
    return line.strip()


def test_every_value_of_a_secret_is_read_from_its_file(secrets: Path) -> None:
    from_files = load_settings({})
    given = load_settings({name.removeprefix("ROOMKEEPER_").lower(): value for name, value in GOOD.items()})
    assert from_files.model_dump() == given.model_dump()


def test_a_path_may_be_a_flag_and_the_others_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "url").write_text("redis://other:6379/1")
    assert load_settings({"redis_url_file": str(tmp_path / "url")}).redis_url == "redis://other:6379/1"


def test_a_value_as_a_flag_wins_over_a_file_in_the_environment(secrets: Path) -> None:
    (secrets / "roomkeeper-redis" / "url").unlink()
    assert load_settings({"redis_url": "redis://flag:6379"}).redis_url == "redis://flag:6379"


@pytest.mark.parametrize("field", [field for field in FILE_FIELDS if variable(field) in GOOD])
def test_a_value_and_its_file_together_are_refused(secrets: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    name = variable(field)
    monkeypatch.setenv(name, GOOD[name])
    assert complaint() == f"{name}   and {name}_FILE are both set; set only one of them"


def test_a_secret_that_is_missing_is_named_with_all_its_keys_and_the_command_that_creates_it(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOMKEEPER_NAMESPACE", "calls")
    for key in ("url", "api-key", "api-secret"):
        (secrets / "roomkeeper-livekit" / key).unlink()
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    _, *lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "ROOMKEEPER_LIVEKIT_URL_FILE", "ROOMKEEPER_LIVEKIT_API_KEY_FILE", "ROOMKEEPER_LIVEKIT_API_SECRET_FILE",
    ]  # fmt: skip
    assert all(
        line.endswith(
            " does not exist: there is no Secret roomkeeper-livekit in the namespace calls, or it is empty; create it: "
            "kubectl -n calls create secret generic roomkeeper-livekit "
            "--from-literal=api-key=VALUE --from-literal=api-secret=VALUE --from-literal=url=VALUE"
        )
        for line in lines
    )


def test_a_secret_whose_directory_is_not_mounted_is_missing_too(secrets: Path) -> None:
    (secrets / "roomkeeper-redis").rename(secrets / "elsewhere")
    assert "there is no Secret roomkeeper-redis in the namespace roomkeeper-system" in complaint()


def test_a_key_that_is_missing_is_named_with_the_keys_that_are_there(secrets: Path) -> None:
    (secrets / "roomkeeper-livekit" / "api-key").rename(secrets / "roomkeeper-livekit" / "apiKey")
    path = secrets / "roomkeeper-livekit" / "api-key"
    assert complaint() == (
        f"ROOMKEEPER_LIVEKIT_API_KEY_FILE   {path} does not exist: the Secret roomkeeper-livekit has no key api-key "
        "(it has api-secret, apiKey, url); add it: kubectl -n roomkeeper-system patch secret roomkeeper-livekit "
        """-p '{"stringData":{"api-key":"VALUE"}}'"""
    )


def test_a_value_that_from_file_gave_a_newline_is_refused_with_the_command_that_repairs_it(secrets: Path) -> None:
    mount(secrets / "roomkeeper-livekit", "api-secret", SECRET + "\n")
    text = complaint()
    assert SECRET not in text
    assert text == (
        f"ROOMKEEPER_LIVEKIT_API_SECRET_FILE   {secrets}/roomkeeper-livekit/api-secret ends in a newline, which is not "
        "part of the value; set the key api-secret of the Secret roomkeeper-livekit: kubectl -n roomkeeper-system "
        """patch secret roomkeeper-livekit -p '{"stringData":{"api-secret":"VALUE"}}'"""
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty; set the key url of the Secret roomkeeper-redis"),
        (" redis://redis", "begins or ends with white space"),
        ("http://:hunter2@redis", 'has scheme "http"; expected redis://HOST:PORT/DB, rediss://…, '),
        ("x" * 70000, "is longer than 64 KiB; it must hold the value alone"),
    ],
    ids=["empty", "blank", "another scheme", "long"],
)
def test_a_wrong_value_is_named_with_its_file_and_not_repeated(secrets: Path, value: str, words: str) -> None:
    mount(secrets / "roomkeeper-redis", "url", value)
    text = complaint()
    assert text.startswith(f"ROOMKEEPER_REDIS_URL_FILE   {secrets}/roomkeeper-redis/url {words}")
    assert "hunter2" not in text


def test_a_value_that_is_not_text_is_refused(secrets: Path) -> None:
    (secrets / "roomkeeper-redis" / "..data" / "url").write_bytes(b"redis://\xff")
    assert "roomkeeper-redis/url is not text in UTF-8; it must hold the value alone; set the key url" in complaint()


@pytest.mark.parametrize("kind", ["directory", "socket", "missing", "below a file"])
def test_a_path_that_is_no_file_is_named_with_what_it_is(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("value")
    expected = {
        "directory": "value is a directory; name the file in it that holds the value",
        "socket": "value is not a regular file; name a file that holds the value",
        "missing": "value does not exist; create it, or correct the path",
        "below a file": "value/url cannot be read: Not a directory; let the operator's user read it",
    }[kind]
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "directory":
            path.mkdir()
        elif kind == "socket":
            server.bind(str(path))
        elif kind == "below a file":
            path.write_text("")
            path /= "url"
        monkeypatch.setenv("ROOMKEEPER_REDIS_URL_FILE", str(path))
        assert complaint() == f"ROOMKEEPER_REDIS_URL_FILE   {expected}"


def test_a_file_that_may_not_be_read_is_named_with_why(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)  # root reads every file, whatever its mode
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert "url cannot be read: Permission denied; let the operator's user read it" in str(caught.value)


def test_the_program_refuses_to_start_without_its_secrets_and_says_so_in_one_line_each(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "roomkeeper" / "secrets" / "roomkeeper-redis"
    environment = {**GOOD, "ROOMKEEPER_REDIS_URL": "", "ROOMKEEPER_REDIS_URL_FILE": str(directory / "url")}
    done = run("operator", environment=environment)
    assert done.status == 2
    assert done.err == (
        "roomkeeper operator: a setting is wrong\n"
        f"  ROOMKEEPER_REDIS_URL_FILE   {directory}/url does not exist: there is no Secret roomkeeper-redis in the "
        "namespace roomkeeper-system, or it is empty; create it: kubectl -n roomkeeper-system create secret generic "
        "roomkeeper-redis --from-literal=url=VALUE\n"
    )


def test_the_program_refuses_a_password_that_is_not_encoded_and_repeats_nothing_of_it() -> None:
    done = run("operator", environment={**GOOD, "ROOMKEEPER_REDIS_URL": "redis://:p@ss:hunter2/w#rd@redis.example/0"})
    assert done.status == 2
    (line,) = done.err.splitlines()[1:]
    assert line.startswith("  ROOMKEEPER_REDIS_URL   has a /, a ? or a # in front of the host")
    assert not any(piece in done.err for piece in ("p@ss", "hunter2", "w#rd", "Traceback"))


def test_the_program_takes_a_path_as_a_flag(tmp_path: Path) -> None:
    done = run("operator", "--redis-url-file", str(tmp_path / "none"), environment=GOOD)
    assert (done.status, done.err.splitlines()[1:]) == (
        2,
        [f"  ROOMKEEPER_REDIS_URL_FILE   {tmp_path}/none does not exist; create it, or correct the path"],
    )
