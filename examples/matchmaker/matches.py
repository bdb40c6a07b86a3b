"""The Matches in Kubernetes: their manifest, and creating them so that a second attempt does no harm.

Write into `manifest` what a call of your product needs; docs/reference/api.md has every field.
"""

from __future__ import annotations

import logging
import os
import ssl
from enum import Enum
from typing import Any, Final, cast

import urllib3
from kubernetes import client, config
from urllib3.util.ssl_ import create_urllib3_context

log = logging.getLogger("matchmaker")

Body = dict[str, Any]

GROUP: Final = "roomkeeper.dev"
VERSION: Final = "v1alpha1"
PLURAL: Final = "matches"
MADE_BY: Final = {"app.kubernetes.io/managed-by": "matchmaker"}
THREADS: Final = 8

_TIMEOUT_SECONDS = 5.0
_CONFLICT = 409
_INVALID = (400, 422)

# What a request to the API server may raise: one for a refusal, one for no answer.
API_ERRORS: Final = (client.ApiException, urllib3.exceptions.HTTPError)


class Creation(Enum):
    """The result of creating a Match."""

    MADE = "made"
    THERE = "there before"
    OVER = "there before, and over"
    REFUSED = "refused, and would be again"


def connect() -> client.CustomObjectsApi:
    """A client for the cluster that this pod runs in, or for the current context of the kubeconfig."""
    configuration = client.Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(configuration)
    else:
        config.load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = THREADS + 1  # and one for the watch
    # The caller tries again, and knows better when.
    configuration.retries = 0
    api_client = client.ApiClient(configuration)
    api_client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _ssl_context(configuration)
    return client.CustomObjectsApi(api_client)


def _ssl_context(configuration: client.Configuration) -> ssl.SSLContext:
    """Verifies as the configuration says, but without the strict checks of Python 3.13, which many clusters fail."""
    verify = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=verify)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.ssl_ca_cert is None:
        context.load_default_certs()
    return context


def manifest(name: str, ids: tuple[str, str], *, tokens: str) -> Body:
    """The Match of two users who wait in the queue."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Match",
        # The operator need not add a finalizer that is there: one write less for each Match.
        "metadata": {"name": name, "labels": MADE_BY, "finalizers": [f"{GROUP}/cleanup"]},
        "spec": {
            "participants": [{"identity": user_id} for user_id in ids],
            "admission": "Queued",
            "tokens": {"delivery": tokens},
        },
    }


class Matches:
    """The Matches of one namespace. May be used by several threads."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str, *, tokens: str) -> None:
        self.api = api
        self.where: dict[str, Any] = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}
        self._tokens = tokens

    def create(self, name: str, ids: tuple[str, str]) -> Creation:
        """Make sure that the Match is there. A Match of this name with other users counts as over."""
        body = manifest(name, ids, tokens=self._tokens)
        try:
            self.api.create_namespaced_custom_object(**self.where, body=body, _request_timeout=_TIMEOUT_SECONDS)
        except client.ApiException as error:
            if error.status in _INVALID:
                log.error("a Match of %s and %s is refused: %s", *ids, error.body)  # noqa: TRY400 (no trace helps here)
                return Creation.REFUSED
            if error.status != _CONFLICT:
                raise
        else:
            return Creation.MADE
        found = cast(
            "Body",
            self.api.get_namespaced_custom_object(**self.where, name=name, _request_timeout=_TIMEOUT_SECONDS),
        )
        same = {person["identity"] for person in found["spec"]["participants"]} == set(ids)
        return Creation.THERE if same and not is_over(found) else Creation.OVER


def is_over(match: Body) -> bool:
    """Whether the Match has ended, or is being deleted."""
    return "end" in match.get("status", {}) or "deletionTimestamp" in match["metadata"]


def brief(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, client.ApiException):
        return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {error}"
