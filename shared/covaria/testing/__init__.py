"""What tests and benches need instead of a whole run: a context, a stack, a small set with known truth, the adjoint."""

from covaria.testing.adjoint import assert_adjoint
from covaria.testing.context import MemoryCheckpoints, MemoryContext
from covaria.testing.results import some_parameters
from covaria.testing.stack import MemoryStack
from covaria.testing.truth_set import TruthSet

__all__ = ["MemoryCheckpoints", "MemoryContext", "MemoryStack", "TruthSet", "assert_adjoint", "some_parameters"]
