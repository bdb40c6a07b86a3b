"""Puts the settings together: flags over files and the environment, and one sentence for each that is wrong.

Neighbors: `model` checks each value, `files` reads the values that are in files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from controller.errors import SettingsError
from controller.settings.files import FILE_FIELDS, FileValues, file_field, read_files
from controller.settings.model import LIVEKIT_TLS_FILES, PREFIX, REDIS_TLS_FILES, Settings, variable
from controller.settings.redis_address import AddressError
from controller.settings.service_links import explain, hidden_by_services, is_of_a_service
from controller.settings.tls import tls_context

# Names with our prefix that are no settings of the operator: those of `sandbox up` and of the tests.
_NOT_OURS = re.compile(r"ROOMKEEPER_(WEBHOOK_URL|METRICS_URL|TEST_.*)")


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Settings from `flags` (by field name, only those that were given) over the environment.

    Raises SettingsError with one line per wrong, missing or unknown setting.
    """
    files = read_files(flags, os.environ)
    problems = [*_unknown_names(os.environ), *files.problems]
    defaults = {link.field: Settings.model_fields[link.field].get_default() for link in hidden_by_services(os.environ)}
    given = {name: value for name, value in flags.items() if name in Settings.model_fields}
    settings: Settings | None = None
    try:
        settings = Settings(**{**defaults, **given, **files.values})
    except ValidationError as error:
        problems.extend(_sentence(details, files) for details in error.errors() if not _is_known(details, files))
    if settings is not None and not problems:
        problems.extend(_certificates(settings))
    if settings is None or problems:
        raise SettingsError(_report(problems))
    if source := files.sources.get("redis_url"):
        settings._redis_url_path = source.path
    return settings


def _certificates(settings: Settings) -> Iterator[tuple[str, str]]:
    """What is wrong with the certificates for Redis and LiveKit: TLS could not begin with them."""
    asked = (
        (settings.redis_address().access.tls, REDIS_TLS_FILES, "redis_url"),
        (settings.livekit_tls(), LIVEKIT_TLS_FILES, "livekit_cert_file"),
    )
    for tls, files, otherwise in asked:
        if tls is None:
            continue
        try:
            tls_context(tls)
        except AddressError as error:
            named = (field for field, option in files.items() if option == error.option)
            field = next((field for field in named if getattr(settings, field) is not None), otherwise)
            yield variable(field), str(error)


def _unknown_names(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    known = {variable(field) for field in (*Settings.model_fields, *map(file_field, FILE_FIELDS))}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or _NOT_OURS.fullmatch(name):
            continue
        if not is_of_a_service(name, environ[name]):
            yield name, "is not a setting of the operator; `roomkeeper operator --help` lists them"


def _is_known(details: Any, files: FileValues) -> bool:
    """Whether the setting has no value because its file has none, which is said already."""
    return bool(details["loc"]) and str(details["loc"][0]) in files.failed


def _sentence(details: Any, files: FileValues) -> tuple[str, str]:
    message = str(details["msg"]).removeprefix("Value error, ")
    if not details["loc"]:
        return "settings", message
    field = str(details["loc"][0])
    if details["type"] == "missing":
        or_file = f" (or set {variable(file_field(field))} to a file that holds it)" if field in FILE_FIELDS else ""
        return variable(field), f"is not set; it is the {Settings.model_fields[field].description}{or_file}"
    if source := files.sources.get(field):
        return source.variable, f"{source.path} {message}{source.remedy}"
    shown = "" if field in FILE_FIELDS or "url" in field or "namespace" in field else f'"{details["input"]}": '
    return variable(field), f"{shown}{message}{explain(field, details['input'])}"


def _report(problems: list[tuple[str, str]]) -> str:
    count = f"{len(problems)} settings are wrong" if len(problems) > 1 else "a setting is wrong"
    width = max(len(name) for name, _ in problems)
    lines = [f"  {name:<{width}}   {sentence}" for name, sentence in problems]
    return "\n".join([f"roomkeeper operator: {count}", *lines])
