"""What every section of a recipe shares."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


def matching(pattern: str, words: str) -> AfterValidator:
    """Refuse a text that a regular expression does not match as a whole, and say in words what it should be."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"should be {words}, not {text[:80]!r}")
        return text

    return AfterValidator(check)


class Section(BaseModel):
    """Refuse unknown keys and silent type conversions; never change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
