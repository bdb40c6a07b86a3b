"""Field types that several resources share, each with its bounds and validation rules."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, rule, validations
from controller.api.meta import SpecModel, unstored

MAX_TEXT_BYTES: Final = 256
MAX_SECONDS: Final = 7 * 24 * 3600
MAX_ATTRIBUTES_BYTES: Final = 65536
"""LiveKit's limit, as it is set by default, for all keys and values of one participant together."""

_TEXT_RULES: Final = validations(
    rule(f"bytes(self).size() <= {MAX_TEXT_BYTES}", f"must be at most {MAX_TEXT_BYTES} bytes in UTF-8"),
    rule(r"!self.matches('\\p{Cc}')", "must not contain control characters"),
)
_KEY_RULES: Final = (
    rule("self.all(key, key != '')", "keys must not be empty"),
    rule("self.all(key, size(key) <= 128)", "keys must be at most 128 characters long"),
)

Identity = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_BYTES, json_schema_extra=_TEXT_RULES)]
"""The id of a participant: 1 to 256 bytes, no control characters."""

ShortText = Annotated[str, Field(max_length=MAX_TEXT_BYTES, json_schema_extra=_TEXT_RULES)]
"""One line of text: at most 256 bytes, no control characters."""

Attributes = Annotated[
    dict[str, Annotated[str, Field(max_length=1024)]],
    Field(
        max_length=16,
        json_schema_extra=atomic(
            *_KEY_RULES,
            rule(
                f"self.map(key, bytes(key).size() + bytes(self[key]).size()).sum() <= {MAX_ATTRIBUTES_BYTES}",
                f"all keys and values together must be at most {MAX_ATTRIBUTES_BYTES} bytes in UTF-8, "
                "or LiveKit refuses the participant",
                computed="'%d bytes in UTF-8: all keys and values together must be at most "
                f"{MAX_ATTRIBUTES_BYTES}, or LiveKit refuses the participant'"
                ".format([self.map(key, bytes(key).size() + bytes(self[key]).size()).sum()])",
            ),
        ),
    ),
]
"""A map of text to text: at most 16 entries, keys of at most 128 and values of at most 1024 characters."""


def attributes_bytes(attributes: Mapping[str, str]) -> int:
    """How large LiveKit counts them: all keys and values together, in UTF-8."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())


Metadata = Annotated[
    dict[str, Annotated[str, Field(max_length=1024)]],
    Field(
        max_length=16,
        json_schema_extra=atomic(
            *_KEY_RULES,
            rule(
                "!('roomkeeper.dev' in self)",
                "the key roomkeeper.dev is reserved for Roomkeeper's own mark: use another key",
                reason="FieldValueForbidden",
            ),
        ),
    ),
]
"""The metadata of a LiveKit room beside Roomkeeper's own mark, with the bounds of `Attributes`."""

ServerName = Annotated[
    str,
    Field(
        max_length=253,
        json_schema_extra=validations(
            rule(
                "self == '' || !format.dns1123Subdomain().validate(self).hasValue()",
                "must be the name of a LiveKitServer: lower case letters, digits, '-' and '.', for example eu-1",
            )
        ),
    ),
]

LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=validations(
            rule(
                "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",
                "must be a label value: letters, digits, '-', '_' and '.', for example eu-west",
            )
        ),
    ),
]


class LabelSelector(SpecModel):
    """Selects LiveKitServers by their labels."""

    model_config = ConfigDict(json_schema_extra=atomic())

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(default_factory=dict)
    """Labels that the server must have, all of them with these values. At most 16. Default: none, which matches every
    server."""


class Placement(SpecModel):
    """The LiveKit server on which the room is placed. Default: any server that accepts new rooms."""

    model_config = ConfigDict(json_schema_extra=atomic())

    server_name: ServerName = ""
    """Name of the LiveKitServer to use, or `default` for the server of the operator's settings. Empty (the default):
    any server that `serverSelector` matches."""

    server_selector: LabelSelector = unstored(LabelSelector())
    """Labels of the LiveKitServers that may be used. If `serverName` is set too, that server must match. The server of
    the operator's settings has no labels."""
