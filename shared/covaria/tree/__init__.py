"""The documented output tree as code: every path, atomic writes, staging and publishing, job.json, README.txt."""

from covaria.tree.paths import AnalysisTree, DensityTree, Tree
from covaria.tree.publish import add_publish_guard, publish, remove_publish_guard, staging

__all__ = ["AnalysisTree", "DensityTree", "Tree", "add_publish_guard", "publish", "remove_publish_guard", "staging"]
