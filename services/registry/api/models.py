"""The base of everything that the API takes and answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ApiModel(BaseModel):
    """What stands below a field is its description in the API's document, too."""

    model_config = ConfigDict(use_attribute_docstrings=True)
