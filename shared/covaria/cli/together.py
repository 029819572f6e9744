"""Options that cannot work together, and inputs that cannot be used: found before anything is read through."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from covaria.errors import InvalidInput, MissingFile
from covaria.request.model import MASK_WORDS, Request
from covaria.request.paths import INPUTS, NamedPath, named_paths
from covaria.request.stages import STAGES

WORD_OR_FILE = f"give {', '.join(MASK_WORDS)}, or the path of an .mrc file"


def refuse_contradictions(
    request: Request, given: Mapping[str, object], flags: Mapping[str, str], stages: Sequence[str] = STAGES
) -> None:
    """Raise InvalidInput for options of which one makes the other impossible.

    stages: those that will run; a latent dimension of an earlier reconstruction is looked for when its stage begins.
    """
    if "reconstruction" in stages and len(stages) > 1:
        for found, hint in _of_a_whole_run(request, given, flags):
            raise InvalidInput(found, hint=hint)
    if request.ingest.growing and "ingest" in stages:
        from covaria.particles.growth import refuse_what_cannot_grow

        refuse_what_cannot_grow(request)
    _refuse_output_over_results(request)
    _refuse_input_that_is_replaced(request, flags, stages)


def look_at_inputs(request: Request, flags: Mapping[str, str], stages: Sequence[str] = STAGES) -> None:
    """Open what only a later stage would: masks and densities. Raises MissingFile, InvalidInput.

    The particles' own files are what the first stage begins with.
    """
    from covaria.maps.masks import refuse_no_weights
    from covaria.maps.volume import read_volume

    for named in named_paths(request):
        if named.kind not in INPUTS or named.part not in stages or named.part == "ingest":
            continue
        _refuse_unreadable(named, flags.get(named.option, named.option))
        if named.part == "reconstruction":
            values, _ = read_volume(named.path)
            if named.option == "reconstruction.motion_weights":
                refuse_no_weights(values, named.path)
            if not (values > 0.5).any():
                raise InvalidInput(
                    f"no voxel of the mask exceeds 0.5 (largest value {values.max():g})",
                    file=named.path,
                    hint="a mask holds 1 inside and 0 outside",
                )
        elif named.option == "analysis.density":
            from covaria.trajectory import read_density

            read_density(named.path)


def _of_a_whole_run(
    request: Request, given: Mapping[str, object], flags: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(what cannot be, what to do)."""
    zdims, density, analysis = request.reconstruction.zdim, request.density, request.analysis
    words = f"{flags['reconstruction.zdim']} {','.join(map(str, zdims))}"
    for option, asked in (
        ("analysis.zdim", analysis.zdim),
        ("density.zdim", density.zdim if density.enabled else None),
    ):
        if asked is not None and asked not in zdims:
            yield f"{flags[option]} {asked} is not among {words}", "add it to --zdim"
    if density.enabled and density.dim is not None and density.dim > (density.zdim or max(zdims)):
        yield f"{flags['density.dim']} {density.dim} is more than the coordinates have: {words}", "lower it"
    pairs = analysis.n_clusters * (analysis.n_clusters - 1) // 2
    if analysis.n_trajectories > max(pairs, 1):
        yield (
            f"{flags['analysis.n_trajectories']} {analysis.n_trajectories}: {analysis.n_clusters} centres have "
            f"{pairs} pairs",
            f"lower it, or raise {flags['analysis.n_clusters']}",
        )
    ingest = request.ingest
    if ingest.box and ingest.downsample and "ingest.downsample" in given and ingest.downsample > ingest.box:
        yield f"--downsample {ingest.downsample} is more than --box {ingest.box}", "images are made smaller only"


def _refuse_output_over_results(request: Request) -> None:
    """The analysis replaces its folder: that must not hold or be what another stage made."""
    if request.analysis.output is None:
        return
    from covaria.job.ownership import refuse_over_results
    from covaria.tree.paths import Tree

    refuse_over_results(request.analysis.output, Tree(request.out))


def _refuse_input_that_is_replaced(request: Request, flags: Mapping[str, str], stages: Sequence[str]) -> None:
    from covaria.tree.entry import find
    from covaria.tree.paths import Tree

    out, replaced = request.out.resolve(), STAGES[STAGES.index(stages[0]) :]
    for named in named_paths(request):
        path = named.path.resolve()
        if named.kind not in INPUTS or named.part not in stages or not path.is_relative_to(out):
            continue
        row = find(Tree, path.relative_to(out).as_posix())
        if row is not None and row.stage in replaced:
            raise InvalidInput(
                f"{flags.get(named.option, named.option)}: a result that this command replaces",
                file=named.path,
                hint="copy it to a place outside OUT first",
            )


def _refuse_unreadable(named: NamedPath, flag: str) -> None:
    path: Path = named.path
    if not path.exists():
        hint = WORD_OR_FILE if named.option == "reconstruction.mask" else "check the path and its spelling"
        raise MissingFile(f"{flag}: is not there", file=path, hint=hint)
    if not path.is_file():
        raise InvalidInput(f"{flag}: is no file", file=path, hint="give the file itself")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{flag}: may not be read by this user", file=path, hint="change its permissions")
