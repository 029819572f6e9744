"""The documented output tree as code: every path, atomic writes, staging and publishing, job.json, README.txt."""

from covaria.tree.folders import (
    AnalysisTree,
    ChosenStatesTree,
    DensityTree,
    Documents,
    ParticleFiles,
    PostprocessTree,
    StatesTree,
    VolumeFiles,
)
from covaria.tree.handed_over import DepositTree, MaskTree, NewcomersTree, OutliersTree, RecovarTree, SubsetTree
from covaria.tree.paths import Tree
from covaria.tree.pen import FREE, Pen
from covaria.tree.refined import RefinedFiles

__all__ = [
    "FREE", "AnalysisTree", "ChosenStatesTree", "DensityTree", "DepositTree", "Documents", "MaskTree", "NewcomersTree",
    "OutliersTree", "ParticleFiles", "Pen", "PostprocessTree", "RecovarTree", "RefinedFiles", "StatesTree",
    "SubsetTree", "Tree", "VolumeFiles",
]  # fmt: skip
