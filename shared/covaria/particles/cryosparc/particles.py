"""cryoSPARC's particles (.cs files and their passthrough files) as `Metadata`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.aberrations import Aberration, image_shift, tetrafoil, trefoil
from covaria.particles.bounds import ctf_checks
from covaria.particles.columns import unknown_cryosparc, unknown_note
from covaria.particles.cryosparc.alignments import read_poses
from covaria.particles.cryosparc.table import CsTable
from covaria.particles.metadata import (
    Grouping,
    Metadata,
    RowCheck,
    codes_of,
    not_finite,
    whole_numbers,
    without_neutral,
)
from covaria.particles.phases import of_beam_tilt

CTF_COLUMNS = {
    "defocus_u_angstrom": "ctf/df1_A",
    "defocus_v_angstrom": "ctf/df2_A",
    "defocus_angle_rad": "ctf/df_angle_rad",
    "voltage_kv": "ctf/accel_kv",
    "spherical_aberration_mm": "ctf/cs_mm",
    "amplitude_contrast": "ctf/amp_contrast",
    "phase_shift_rad": "ctf/phase_shift_rad",
    "b_factor_angstrom2": "ctf/bfactor",
    "scale": "ctf/scale",
}
ABERRATIONS = {
    "ctf/trefoil_A": (2, trefoil),
    "ctf/tetra_A": (4, tetrafoil),
    "ctf/shift_A": (2, image_shift),
}
"""Numbers in each, and their phase; all are 0 where nothing was refined."""
GROUPS = {
    "filament/filament_uid": "filaments",
    "sym_expand/src_uid": "symmetry copies of one particle",
}
PATH, INDEX, SIGN, TILT, ANISOMAG = "blob/path", "blob/idx", "blob/sign", "ctf/tilt_A", "ctf/anisomag"
COLUMNS = {
    **CTF_COLUMNS, "image": INDEX, "pixel_size_angstrom": "blob/psize_A", "box": "blob/shape", "odd_phase": TILT,
    "magnification": ANISOMAG,
}  # fmt: skip


def read_cryosparc(
    source: Path,
    passthrough: Sequence[Path] = (),
    roots: Roots = ANYWHERE,
    *,
    class_number: int | None = None,
) -> Metadata:
    """A .cs file's metadata, with columns of the `passthrough` files. Raises InvalidInput."""
    table = CsTable(source, passthrough, roots)
    if len(table) == 0:
        raise InvalidInput("holds no particles", file=source, hint="the selection that wrote it was empty")
    stack_names, stack_of_row, image_of_row, name_check = _image_names(table)
    poses = read_poses(table, class_number)
    ctf = without_neutral(
        {name: values for name, column in CTF_COLUMNS.items() if (values := table.numbers(column)) is not None}
    )
    gain, sign_checks, sign_notes = _signs(table)
    boxes, box_check = _boxes(table)
    group_codes, group_names = _optics_groups(table)
    micrograph, micrograph_names = _micrographs(table)
    return Metadata(
        source=source,
        count=len(table),
        boxes=boxes,
        pixel_sizes_angstrom=table.numbers("blob/psize_A"),
        rotations=poses.rotations,
        shifts=poses.shifts,
        ctf=ctf,
        column_names=COLUMNS | {"rotations": f"{poses.prefix}/pose", "shifts": f"{poses.prefix}/shift"},
        optics_group=group_codes,
        optics_names=group_names,
        half_set=poses.half_set,
        micrograph=micrograph,
        micrograph_names=micrograph_names,
        stack_names=stack_names,
        stack_of_row=stack_of_row,
        image_of_row=image_of_row,
        uid=_uids(table),
        gain=gain,
        class_of_row=poses.class_of_row,
        class_column=f"{poses.prefix}/class_posterior",
        objects=_objects(table),
        places_pixels=_places(table),
        odd_phase=_beam_tilt(table, ctf),
        magnification=_magnification(table),
        aberrations=tuple(_aberrations(table)),
        checks=(
            name_check, *box_check, *poses.checks, *ctf_checks(ctf, source, CTF_COLUMNS, angles="radian"),
            *sign_checks, *_finite(table),
        ),
        notes=(
            *poses.notes, *sign_notes, *_scale_const(table),
            *unknown_note(unknown_cryosparc(table.names), source.name),
        ),
    )  # fmt: skip


def _uids(table: CsTable) -> NDArray[np.uint64] | None:
    uids = table.get("uid")
    return uids.astype(np.uint64) if uids is not None and uids.ndim == 1 and uids.dtype.kind in "ui" else None


def _optics_groups(table: CsTable) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if table.numbers("ctf/exp_group_id") is None:
        return None, ()
    groups = table.get("ctf/exp_group_id")
    assert groups is not None
    return codes_of([str(value) for value in groups.tolist()])


def _micrographs(table: CsTable) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    places = table.texts("location/micrograph_path")
    if places is None:
        uids = table.get("location/micrograph_uid")
        places = None if uids is None or uids.ndim != 1 else uids.astype(str)
    return (None, ()) if places is None else codes_of([_text(one) for one in places.tolist()])


def _text(value: bytes | str) -> str:
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return text.removeprefix(">")


def _image_names(table: CsTable) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64], RowCheck]:
    """Stack names, and for each row the stack (-1 where the path is empty) and the 0-based image."""
    paths, index = table.texts(PATH), table.numbers(INDEX)
    if paths is None or index is None:
        raise _no_images(table, PATH if paths is None else INDEX)
    unique, inverse = np.unique(paths, return_inverse=True)
    names = [_text(value) for value in unique.tolist()]
    codes, merged = codes_of(names)
    empty = np.array([not name for name in names])[inverse]
    stack = np.where(empty, -1, codes[inverse])
    return (
        merged,
        stack,
        whole_numbers(index),
        RowCheck(empty, table.source, PATH, "the path is empty", "give the particles of an extraction"),
    )


def _no_images(table: CsTable, column: str) -> InvalidInput:
    """The refusal of a table without images, which says which of a job's two files is which."""
    name = table.source.name
    other = table.source.with_name(name.replace("passthrough_", ""))
    has_poses = any(column.startswith("alignments") and column.endswith("/pose") for column in table.names)
    if name != other.name or not has_poses:
        main = f" ({other.name})" if other != table.source and other.is_file() else ""
        message = "the column is missing: this is not a job's particle file" + (
            ", but the passthrough file of one" if name != other.name else ""
        )
        hint = f"give the job's particle file{main}, and this one with --passthrough"
    else:
        message, hint = "the column is missing", "give the job's passthrough file with --passthrough"
    return InvalidInput(message, file=table.source, column=column, hint=hint)


def _boxes(table: CsTable) -> tuple[NDArray[np.float64] | None, list[RowCheck]]:
    shape = table.numbers("blob/shape", (2,))
    if shape is None:
        return None, []
    check = RowCheck(
        shape[:, 0] != shape[:, 1],
        table.source,
        "blob/shape",
        lambda row: f"images must be square, found {shape[row].tolist()}",
        "extract square images",
    )
    return shape[:, 0], [check]


def _signs(table: CsTable) -> tuple[NDArray[np.float32] | None, list[RowCheck], list[str]]:
    """blob/sign multiplies an image. Only differences matter: one sign for all is found from the mean map."""
    sign = table.numbers(SIGN)
    if sign is None:
        return None, [], []
    check = RowCheck(
        np.abs(sign) != 1, table.source, SIGN, lambda row: f"a data sign of {sign[row]:g}", "a sign is 1 or -1"
    )
    negative = sign < 0
    if not negative.any() or negative.all():
        return None, [check], []
    note = f"{SIGN} is -1 in {int(negative.sum())} of {len(sign)} rows: these images are inverted"
    return np.where(negative, -1, 1).astype(np.float32), [check], [note]


def _scale_const(table: CsTable) -> list[str]:
    values = table.numbers("ctf/scale_const")
    if values is None or not np.any(values != 0):
        return []
    return [f"ctf/scale_const is not 0 in {int(np.count_nonzero(values))} rows; it is not modelled"]


def _beam_tilt(table: CsTable, ctf: dict[str, NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """tilt_A is Cs times the sine of the beam tilt, of the sign that converters to RELION's columns take it for."""
    tilt, voltage = table.numbers(TILT, (2,)), ctf.get("voltage_kv")
    if tilt is None or voltage is None or not np.any(tilt != 0):
        return None
    return of_beam_tilt(tilt, voltage, np.full(len(tilt), 1e-4))  # angstrom are mrad x mm x 1e4


def _magnification(table: CsTable) -> NDArray[np.float64] | None:
    """anisomag is RELION's matrix less the identity, row by row, as the known converters take it."""
    deviation = table.numbers(ANISOMAG, (4,))
    if deviation is None or not np.any(deviation != 0):
        return None
    return deviation.reshape(-1, 2, 2) + np.eye(2)


def _finite(table: CsTable) -> list[RowCheck]:
    columns = ((name, table.numbers(name, (count,))) for name, count in ((TILT, 2), (ANISOMAG, 4)))
    return [
        RowCheck(not_finite(values), table.source, name, "the value is not finite", "correct it")
        for name, values in columns
        if values is not None
    ]


def _aberrations(table: CsTable) -> list[Aberration]:
    """Those that any row has; one entry for each row."""
    own = np.arange(len(table))
    return [
        Aberration(column, values, own, phase)
        for column, (count, phase) in ABERRATIONS.items()
        if (values := table.numbers(column, (count,))) is not None and np.any(np.nan_to_num(values) != 0)
    ]


def _objects(table: CsTable) -> tuple[Grouping, ...]:
    found = []
    for column, what in GROUPS.items():
        values = table.get(column)
        if values is not None and values.ndim == 1 and values.dtype.kind in "iu":
            found.append(Grouping(what, np.unique(values, return_inverse=True)[1].astype(np.int64)))
    return tuple(found)


def _places(table: CsTable) -> NDArray[np.float64] | None:
    x, y = table.numbers("location/center_x_frac"), table.numbers("location/center_y_frac")
    shape = table.numbers("location/micrograph_shape", (2,))
    if x is None or y is None or shape is None:
        return None
    return np.stack([x * shape[:, 1], y * shape[:, 0]], axis=1)
