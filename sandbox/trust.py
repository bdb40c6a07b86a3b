"""A TLS context that trusts the certificate which kube-apiserver writes for itself."""

from __future__ import annotations

import ssl


def ssl_context(ca: str) -> ssl.SSLContext:
    """For clients of the API server; `ca` is its certificate as PEM."""
    context = ssl.create_default_context(cadata=ca)
    # That certificate lacks an extension that Python 3.13 requires.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
