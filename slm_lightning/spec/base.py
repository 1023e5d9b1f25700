"""What every section of a spec is made of."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from slm_lightning.spec.numeric import keyword


class SpecModel(BaseModel):
    """Base of every section. Docstrings below the fields become the JSON Schema's descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    unread: ClassVar[dict[str, str]] = {}
    """Keys SLM Lab specs carry here that nothing reads, each with the reason; accepted with a note."""


class KeywordSpec(SpecModel):
    """Something named, whose further keys are keyword arguments of what it names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(keyword)]] = Field(init=False)

    name: str

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__)
