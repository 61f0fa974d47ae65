"""What all records of a report share: frozen, open to further keys, strict about the types of those they know."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Record", "Share"]

Share = Annotated[float, Field(ge=0, le=1 + 1e-6)]  # a mean of float32 probabilities may end a rounding above 1
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """A part of the report: frozen, open to further keys, strict about the types of those it knows."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())
