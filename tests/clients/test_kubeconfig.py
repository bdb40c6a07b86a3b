"""A kubeconfig read as kubectl reads it: files merged, a context chosen, credentials from a plugin."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.clients.kubeconfig import Login, files, login
from controller.errors import SettingsError


def config(name: str, *, current: str | None = None, cluster: Any = None, user: Any = None) -> dict[str, Any]:
    """One context with a cluster and a user of the same name."""
    return {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443/"} | (cluster or {})}],
        "users": [{"name": name, "user": {"token": f"token-of-{name}"} if user is None else user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name if current is None else current,
    }


def written(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_current_context_is_used_unless_another_is_named(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", config("a")), written(tmp_path / "b", config("b"))
    assert login((first, second)) == Login("https://a:6443", "a", token="token-of-a")
    assert login((first, second), "b").server == "https://b:6443"


def test_of_two_entries_with_one_name_the_first_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "a", config("same", cluster={"server": "https://first"}))
    second = written(tmp_path / "b", config("same", cluster={"server": "https://second"}))
    assert login((first, second)).server == "https://first"


def test_files_are_relative_to_the_kubeconfig_that_names_them_and_data_wins(tmp_path: Path) -> None:
    document = config(
        "a",
        cluster={"certificate-authority": "ca.crt"},
        user={"client-certificate": "/etc/me.crt", "client-key": "me.key", "client-key-data": "a2V5"},
    )
    found = login((written(tmp_path / "home" / "config", document),))
    assert found.ca_path == str(tmp_path / "home" / "ca.crt")
    assert (found.certificate_path, found.key_path, found.key_data) == ("/etc/me.crt", "", "a2V5")


def test_a_token_may_be_in_a_file_which_goes_before_one_in_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    user = {"tokenFile": "token", "token": "an-older-one"}
    assert login((written(tmp_path / "a", config("a", user=user)),)).token == "from-a-file"


def test_a_proxy_without_tls_needs_no_credentials(tmp_path: Path) -> None:
    """`kubectl proxy` adds its own."""
    document = config("a", cluster={"server": "http://127.0.0.1:8001"}, user={})
    assert login((written(tmp_path / "a", document),)).server == "http://127.0.0.1:8001"


def printing(**status: str) -> str:
    """A plugin that prints this status."""
    return f"print({json.dumps(json.dumps({'kind': 'ExecCredential', 'status': status}))})"


def plugin(tmp_path: Path, program: str, **more: Any) -> Path:
    script = tmp_path / "plugin.py"
    script.write_text(program)
    entry = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(script)], **more}
    return written(tmp_path / "a", config("a", user={"exec": entry}))


def test_a_plugin_gives_the_credentials_and_learns_the_cluster(tmp_path: Path) -> None:
    program = (
        "import json, os\n"
        "asked = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "token = os.environ['PREFIX'] + asked['spec']['cluster']['server']\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': {'token': token}}))\n"
    )
    path = plugin(tmp_path, program, provideClusterInfo=True, env=[{"name": "PREFIX", "value": "for "}])
    assert login((path,)).token == "for https://a:6443"


def test_a_plugin_inherits_the_environment_without_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_API_SECRET", "it-does-not-concern-the-plugin")
    monkeypatch.setenv("CALLS_PROFILE", "calls")
    program = (
        "import json, os\n"
        "token = ' '.join(name for name in os.environ if name.startswith(('ROOMKEEPER_', 'CALLS_')))\n"
        "print(json.dumps({'status': {'token': token}}))\n"
    )
    assert login((plugin(tmp_path, program),)).token == "CALLS_PROFILE"


def test_a_plugin_says_until_when_its_credentials_are_good(tmp_path: Path) -> None:
    program = printing(token="t", expirationTimestamp="2026-11-27T03:00:00Z")
    found = login((plugin(tmp_path, program, apiVersion="client.authentication.k8s.io/v1beta1"),))
    assert (found.token, found.has_plugin, found.expires_at) == ("t", True, datetime(2026, 11, 27, 3, tzinfo=UTC))


def test_a_plugin_that_must_ask_a_person_is_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    path = plugin(tmp_path, printing(token="t"), interactiveMode="Always")
    with pytest.raises(
        SettingsError, match="must ask a person \\(interactiveMode: Always\\), and there is no terminal"
    ):
        login((path,))
    assert login((plugin(tmp_path, printing(token="t"), interactiveMode="IfAvailable"),)).token == "t"


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("raise SystemExit(3)", "failed: exit status 3$"),
        ("import sys; print('secret'); sys.exit('no\\nsession: log in')", "failed: exit status 1: no session: log in$"),
        ("print('secret')", "failed: it printed no ExecCredential with a status$"),
        ("print('{}')", "failed: it printed no ExecCredential with a status$"),
        ("print('[]')", "failed: it printed no ExecCredential with a status$"),
        (printing(expirationTimestamp="2026-11-27T00:00:00", token="secret"), "failed: it printed no ExecCredential"),
        (printing(), "failed: it printed neither a token nor a client certificate with its key$"),
        (printing(clientCertificateData="secret"), "failed: it printed neither a token nor a client certificate"),
    ],
)
def test_a_plugin_that_fails_is_named_and_what_it_printed_is_not(tmp_path: Path, program: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"of the context a {sentence}") as failed:
        login((plugin(tmp_path, program),))
    assert "secret" not in str(failed.value)


def test_a_plugin_that_is_not_installed_is_named_with_the_hint_of_the_file(tmp_path: Path) -> None:
    path = plugin(tmp_path, "", command="no-such-plugin", installHint="install it with brew")
    with pytest.raises(SettingsError, match="no-such-plugin of the context a is not installed; install it with brew"):
        login((path,))


@pytest.mark.parametrize(
    ("document", "context", "sentence"),
    [
        (config("a", current=""), "", "no context is current; choose one with --context"),
        (config("a"), "z", "there is no context 'z'; there are: a"),
        (config("a") | {"users": []}, "", "there is no user 'a'; there are: none"),
        (config("a", cluster={"server": ""}), "", "the cluster of the context a has no server"),
        (config("a", cluster={"tls-server-name": "x"}), "", "uses tls-server-name, which is not supported here"),
        (
            config("a", user={"auth-provider": {"name": "gcp"}}),
            "",
            "uses auth-provider, which is not supported here; kubectl has removed it too: use the exec plugin of your",
        ),
        (config("a", user={}), "", "a: the user of the context a has no credentials; give it one of token, tokenFile,"),
        (config("a", user={"username": "me"}), "", "the user of the context a has no credentials"),
        (config("a", user={"client-certificate": "x"}), "", "has a client-certificate and no client-key"),
        (config("a", user={"client-key-data": "eA=="}), "", "has a client-key and no client-certificate"),
        (config("a", user={"tokenFile": "/nowhere"}), "", "the tokenFile /nowhere cannot be read: No such file"),
        (config("a", user={"tokenFile": "/dev/null"}), "", "the tokenFile /dev/null is empty"),
        (config("a", user={"as": "root"}), "", "uses as, which is not supported here"),
        (["a"], "", "is not a kubeconfig: it has no fields"),
        (
            config("a", user={"exec": {"command": "x", "apiVersion": "v1alpha1"}}),
            "",
            "the plugin x of the context a speaks v1alpha1",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, document: Any, context: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        login((written(tmp_path / "a", document),), context)
    assert sentence in str(refused.value)


def test_broken_yaml_is_named_by_its_file_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("token: [secret\n")
    with pytest.raises(SettingsError, match="is not YAML") as refused:
        login((path,))
    assert "secret" not in str(refused.value)


def test_the_files_are_the_given_one_else_those_of_the_variable_else_that_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files(None, {}) == ()
    home = written(tmp_path / ".kube/config", config("a"))
    assert files(None, {}) == (home,)
    other = written(tmp_path / "other", config("b"))
    assert files(None, {"KUBECONFIG": f"/nowhere:{other}"}) == (other,)
    assert files(home, {"KUBECONFIG": str(other)}) == (home,)
    with pytest.raises(SettingsError, match="KUBECONFIG=/nowhere: no such file"):
        files(None, {"KUBECONFIG": "/nowhere"})
    with pytest.raises(SettingsError, match="the kubeconfig /nowhere does not exist"):
        files(Path("/nowhere"), {})


def test_no_secret_is_in_the_words_that_describe_a_login(tmp_path: Path) -> None:
    document = config(
        "a", user={"token": "t0ken", "password": "pa55", "client-certificate": "c", "client-key-data": "k3y"}
    )
    shown = repr(login((written(tmp_path / "a", document),)))
    assert not [secret for secret in ("t0ken", "pa55", "k3y") if secret in shown]
