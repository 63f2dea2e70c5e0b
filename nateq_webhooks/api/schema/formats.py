"""The forms that the description is written in, and the parameter that chooses one."""

from typing import Final

from nateq_webhooks.rest.parameters import OneOfField, Parameters

MEDIA_TYPES: Final = {"json": "application/vnd.oai.openapi+json", "yaml": "application/vnd.oai.openapi"}
"""The media type of each form."""


class SchemaParameters(Parameters):
    """The parameters of the description."""

    format = OneOfField(list(MEDIA_TYPES), default="json", help_text="The form that the description is written in.")
