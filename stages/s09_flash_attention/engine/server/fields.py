"""The types of the fields in a request body: JSON's types, with bounds that are cheap to check."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def utf8(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is not text. Raises ValueError."""
    if isinstance(text, str) and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character") from None
    return text


def pairs(metadata: Any) -> Any:
    """Raises ValueError for more pairs than OpenAI allows, before any is checked."""
    if isinstance(metadata, dict) and len(metadata) > 16:
        raise ValueError(f"has {len(metadata)} pairs, but at most 16 are possible")
    return metadata


def one_or_many(stop: Any) -> Any:
    if not isinstance(stop, (str, list)):
        raise ValueError("must be a string or an array of strings")
    return [stop] if isinstance(stop, str) else stop


def whole(number: Any) -> Any:
    """JSON has one kind of number: 4.0 is an integer."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def whole_numbers(ids: Any) -> Any:
    """The same for each of them; there may be a million, so floats are looked for first."""
    return [whole(i) for i in ids] if isinstance(ids, list) and float in set(map(type, ids)) else ids


def few(bias: Any) -> Any:
    """Raises ValueError for more entries than anybody needs, before any is checked."""
    if isinstance(bias, dict) and len(bias) > 1024:
        raise ValueError(f"has {len(bias)} entries, but at most 1024 are possible")
    return bias


Text = Annotated[str, BeforeValidator(utf8)]
Key = Annotated[Text, Field(max_length=64)]
Metadata = Annotated[dict[Key, Annotated[Text, Field(max_length=512)]], BeforeValidator(pairs)]
Integer = Annotated[int, BeforeValidator(whole)]
Limit = Annotated[Integer, Field(ge=1, lt=2**31)]  # JSON knows numbers of any length
TokenId = Annotated[
    int, BeforeValidator(lambda v: int(v) if isinstance(v, str) and v.isdecimal() else v), Field(ge=0)
]
LogitBias = Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], BeforeValidator(few)]
Ids = Annotated[list[int], Field(fail_fast=True), BeforeValidator(whole_numbers)]
Stop = Annotated[
    list[Annotated[Text, Field(min_length=1)]],
    Field(max_length=16, fail_fast=True),
    BeforeValidator(one_or_many),
]


class Body(BaseModel):
    """pydantic reports everything that is wrong, and a body of a few MB can hold a million mistakes. So lists fail at
    the first one (fail_fast), and pydantic is shown only the first unknown field.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    ignores_nulls: ClassVar[bool] = False  # accepts unknown fields whose value is null

    @model_validator(mode="before")
    @classmethod
    def tidy(cls, body: Any) -> Any:
        """As OpenAI has it, null means not given."""
        if not isinstance(body, dict):
            return body
        known = {k: v for k, v in body.items() if k in cls.model_fields and v is not None}
        unknown = next(
            (
                k
                for k, v in body.items()
                if k not in cls.model_fields and not (v is None and cls.ignores_nulls)
            ),
            None,
        )
        return known if unknown is None else {**known, unknown: body[unknown]}
