"""Files of a finished run, without the run."""

from __future__ import annotations

from typing import Any

import numpy as np

from covaria.results.parameters import Parameters


def some_parameters(box: int = 16, **changes: Any) -> Parameters:
    """params.pkl of a bright set with white noise in which one component is confirmed; `changes` are other fields."""
    shells, curve = box // 2 - 1, np.ones(box // 2)
    values: dict[str, Any] = {
        "volume_shape": (box, box, box),
        "voxel_size": 4.0,
        "s": np.ones(1),
        "noise_var_used": np.ones(shells),
        "noise_group_factor": np.ones(1),
        "data_sign": 1,
        "uninvert_data": "true",
        "mean_fsc": curve,
        "mean_fsc_unmasked": curve,
        "component_fsc": curve[None],
        "significant_components": 1,
        "component_z_score": np.full(1, 9.0),
        "contrast_sd": 0.1,
        "image_scale": 1.0,
        "input_args": {},
    }
    return Parameters(**(values | changes))
