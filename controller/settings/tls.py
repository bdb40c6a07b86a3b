"""The TLS context for Redis or LiveKit from its options. It reads the files: at the start to check them, and later.

Neighbors: `load` checks the settings with it, `clients.redis.wire` and `clients.livekit_tls` connect with it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from controller.settings.redis_address import AddressError, TlsOptions


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """A context for clients, with the files as they are now.

    Raises AddressError, whose sentence names the file and what is wrong with it.
    """
    context = ssl.create_default_context(cadata=_authorities(options) or None, capath=_directory(options) or None)
    if options.ca_file or options.ca_path or options.ca_data:
        # Of a private CA OpenSSL's own rules are enough, as for redis-cli: Python 3.13 wants extensions that many lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if options.cert_file:
        _own_certificate(context, options)
    context.check_hostname = options.checks_host_name
    context.verify_mode = ssl.CERT_REQUIRED if options.verifies else ssl.CERT_NONE
    return context


def _authorities(options: TlsOptions) -> str:
    """The CAs of a file and those that are given as text, as PEM."""
    texts = []
    if options.ca_file:
        text = _read(options.ca_file, "ca_file")
        _check_authorities(text, f"names a file, {options.ca_file}, which", "ca_file")
        texts.append(text)
    if options.ca_data:
        _check_authorities(options.ca_data, "has ssl_ca_data, which", "ca_data")
        texts.append(options.ca_data)
    return "\n".join(texts)


def are_authorities(text: str) -> bool:
    """Whether the text has CAs in PEM form, and nothing that OpenSSL refuses beside them."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: there is text beyond ASCII
        return False
    return True


def _check_authorities(text: str, what: str, option: str) -> None:
    if not are_authorities(text):
        raise AddressError(f"{what} holds no certificates in PEM form", option)


def _directory(options: TlsOptions) -> str:
    if options.ca_path and not Path(options.ca_path).is_dir():
        raise AddressError(f"names a directory of CAs, {options.ca_path}, which does not exist", "ca_path")
    return options.ca_path


def _own_certificate(context: ssl.SSLContext, options: TlsOptions) -> None:
    key_file = options.key_file or options.cert_file
    _read(options.cert_file, "cert_file")
    _read(key_file, "key_file")
    asked = False

    def password() -> str:
        # Without this function, OpenSSL would ask for the password on the terminal.
        nonlocal asked
        asked = True
        return options.key_password

    try:
        context.load_cert_chain(options.cert_file, key_file, password)
    except (ssl.SSLError, ValueError) as error:
        raise AddressError(*_explained(error, options, key_file, wants_password=asked)) from None


def _explained(error: Exception, options: TlsOptions, key_file: str, *, wants_password: bool) -> tuple[str, str]:
    """Why a certificate and its key cannot be used, and the option that is wrong."""
    if "MISMATCH" in str(error):
        return f"names a key, {key_file}, which does not belong to the certificate {options.cert_file}", "key_file"
    if wants_password:
        if options.key_password:
            return f"names a key, {key_file}, which has another password than ssl_password in the Redis URL", "key_file"
        remedy = "name one without, or, for Redis, give it as ssl_password in the URL"
        return f"names a key, {key_file}, which has a password; {remedy}", "key_file"
    return f"names a certificate, {options.cert_file}, with the key {key_file}: one is not in PEM form", "cert_file"


def _read(path: str, option: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AddressError(f"names a file, {path}, which does not exist", option) from None
    except OSError as error:
        raise AddressError(f"names a file, {path}, which cannot be read: {error.strerror}", option) from None
    except UnicodeDecodeError:
        raise AddressError(f"names a file, {path}, which is not in PEM form", option) from None
