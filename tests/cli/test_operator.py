"""`roomkeeper operator`, up to the moment at which it would begin to serve."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.cli.support import run
from tests.settings.test_service_links import links
from tests.settings.test_settings import GOOD

# Says with which settings it would serve.
SERVE = """
import controller.app.life
async def serve(settings):
    print(settings.webhook_port, settings.cluster_id)
controller.app.life.serve = serve
"""


def test_flags_and_variables_become_its_settings() -> None:
    done = run(
        "operator", "--webhook-port", "8081", before=SERVE, environment={**GOOD, "ROOMKEEPER_CLUSTER_ID": "blue"}
    )
    assert (done.status, done.out.splitlines()[-1]) == (0, "8081 blue"), done.err


def test_beside_a_service_of_our_name_it_starts_with_its_default_and_warns() -> None:
    done = run("operator", before=SERVE, environment={**GOOD, **links("roomkeeper-webhook", 80)})
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "8080 default"
    (warning,) = [json.loads(line) for line in (done.out + done.err).splitlines() if "enableServiceLinks" in line]
    assert warning["level"] == "warning"
    assert "ROOMKEEPER_WEBHOOK_PORT holds the address of the Service roomkeeper-webhook" in warning["event"]


def test_a_kubeconfig_without_credentials_stops_it_with_status_2_and_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "calls", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "calls",
    }
    path.write_text(yaml.safe_dump(document))
    done = run("operator", environment={**GOOD, "KUBECONFIG": str(path)})
    assert (done.status, done.err) == (
        2,
        f"{path}: the user of the context calls has no credentials; give it one of token, tokenFile, "
        "client-certificate with client-key, or exec\n",
    )
