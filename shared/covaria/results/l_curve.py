"""density/data/l_curve.json: how the density's regularisation was chosen."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE
from covaria.tree import DensityTree

MOST_BYTES = 1 << 20


class LCurve(BaseModel):
    """Lists of one entry for each alpha, largest first; `chosen` is an index into them."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    alpha: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, max_length=1000)
    roughness: tuple[float, ...]
    log_likelihood: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    held_out_standard_error: tuple[float, ...]
    chosen: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _as_long_as_one_another(self) -> Self:
        lists = (self.roughness, self.log_likelihood, self.held_out_loss, self.held_out_standard_error)
        if any(len(one) != len(self.alpha) for one in lists) or self.chosen >= len(self.alpha):
            raise ValueError("its lists differ in length")
        return self


def read_l_curve(tree: DensityTree) -> LCurve:
    """Raises MissingFile, InvalidInput."""
    with ANYWHERE.open(tree.l_curve, most_bytes=MOST_BYTES, hint="run `covaria density` first") as file:
        content = file.read()
    try:
        return LCurve.model_validate_json(content)
    except ValidationError as error:
        raise InvalidInput(
            f"is not the curve of a density ({error.errors()[0]['msg']})",
            file=tree.l_curve,
            hint="run `covaria density` again",
        ) from None
