"""The settings of the operator as this process has them: given, wrong, or not given at all."""

from __future__ import annotations

from collections.abc import Mapping

from controller.doctor.findings import Answer, answer
from controller.errors import SettingsError
from controller.settings import PREFIX, Settings, load_settings

_POD = "KUBERNETES_SERVICE_HOST"


def given(environment: Mapping[str, str]) -> tuple[Settings | None, Answer]:
    """The settings, or None with the reason.

    An administrator has none of them, which is no problem. In a pod they are expected.
    """
    try:
        return load_settings({}), answer("ok")
    except SettingsError as error:
        is_expected = _POD in environment or any(name.startswith(PREFIX) for name in environment)
        if not is_expected:
            return None, answer("none")
        _, *problems = str(error).splitlines()
        return None, answer("wrong", problem="\n".join(" ".join(line.split()) for line in problems))
