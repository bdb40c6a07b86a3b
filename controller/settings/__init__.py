"""All settings of the operator: environment, flags and files through pydantic-settings, checked once at start.

Each is `ROOMKEEPER_<NAME>` in the environment and `--<name>` on the command line (which wins). `model` defines them,
`files` reads those whose value is in a file, `service_links` knows the variables that Kubernetes adds, and `load` puts
them together and says what is wrong.
"""

from controller.settings.files import FILE_FIELDS, file_field
from controller.settings.load import load_settings
from controller.settings.model import PREFIX, Settings, variable
from controller.settings.service_links import hidden_by_services

__all__ = ["FILE_FIELDS", "PREFIX", "Settings", "file_field", "hidden_by_services", "load_settings", "variable"]
