"""The documented output tree as code: every path, atomic writes, staging and publishing, job.json, README.txt."""

from covaria.tree.folders import AnalysisTree, ChosenStatesTree, DensityTree, StatesTree, VolumeFiles
from covaria.tree.paths import Tree
from covaria.tree.publish import add_publish_guard, publish, remove_publish_guard, staging

__all__ = [
    "AnalysisTree", "ChosenStatesTree", "DensityTree", "StatesTree", "Tree", "VolumeFiles",
    "add_publish_guard", "publish", "remove_publish_guard", "staging",
]  # fmt: skip
