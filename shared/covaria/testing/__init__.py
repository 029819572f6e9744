"""What tests and benches need instead of a whole run: a context, a stack, a small set with known truth, the adjoint."""

from covaria.testing.adjoint import assert_adjoint
from covaria.testing.context import MemoryCheckpoints, MemoryContext
from covaria.testing.results import some_parameters
from covaria.testing.stack import MemoryStack

__all__ = ["MemoryCheckpoints", "MemoryContext", "MemoryStack", "assert_adjoint", "some_parameters"]
