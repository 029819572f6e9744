"""The mean map for people, as soon as there is one: early/ in OUT, until the results are in their place."""

from __future__ import annotations

from covaria.estimation.mean.model import MeanModel
from covaria.imaging.images import Images
from covaria.maps import write_volume
from covaria.plots import plot_mask
from covaria.running.console import TOLD
from covaria.stage import Context
from covaria.tree import Tree, record


def show_early(tree: Tree, images: Images, mean: MeanModel, context: Context) -> None:
    """Draw the mean map with its mask, also on the report, and say where. Raises OSError."""
    if not context.ranks.first:
        return
    pixel = images.pixel_size_angstrom
    average = mean.halves.mean(0) * images.scale
    with tree.staging("early") as folder:
        staged = Tree(folder)
        staged.early.mkdir(parents=True)
        write_volume(staged.early_mean, average, pixel)
        plot_mask(staged.early_mean_plot, average, {"mask": mean.mask}, pixel)
        tree.publish(staged.early, tree.early)
    if record.read_request(tree) is not None:  # a stage that is called by itself has no pages to renew
        record.refresh(tree)
    context.log.info("a first look at the mean map: %s", tree.early_mean_plot, extra=TOLD)


def forget_early(tree: Tree) -> None:
    """The mean map is among the results now."""
    tree.pen.remove(tree.early)
