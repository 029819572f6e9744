"""Shapes and types in signatures are checked while tests run: jaxtyping's shapes, beartype's types.

An import hook decorates every function and dataclass of CHECKED. The library itself imports neither: its shapes stand
under TYPE_CHECKING, which the hook takes for true in these modules.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

CHECKED = ("covaria.imaging", "covaria.maps", "covaria.estimation")
COMPILED = {"njit", "custom_op", "register_kernel", "register_fake"}
"""Decorators of functions whose signatures numba and torch read, who know no shapes."""

_typechecker = beartype(conf=BeartypeConf(is_color=False, is_pep484_tower=True))


def shape_checked(thing):
    """A function, or a dataclass, whose arguments and results are checked at each call."""
    return jaxtyped(thing, typechecker=_typechecker)


def is_checked(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in CHECKED)


class _Decorate(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.copy_location(ast.If(ast.Constant(True), node.body, []), node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if not _is_compiled(node) and not _speaks_of_self(node):
            node.decorator_list.append(_name(node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list):
            node.decorator_list.insert(0, _name(node))
        return node


def _is_compiled(node: ast.FunctionDef) -> bool:
    parts = [part for decorator in node.decorator_list for part in ast.walk(decorator)]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return bool(COMPILED & (names | {part.attr for part in parts if isinstance(part, ast.Attribute)}))


def _speaks_of_self(node: ast.FunctionDef) -> bool:
    """beartype knows typing.Self only where it decorates the whole class."""
    hints = [node.returns, *(argument.annotation for argument in node.args.args)]
    return any(isinstance(part, ast.Name) and part.id == "Self" for hint in hints if hint for part in ast.walk(hint))


def _name(node: ast.FunctionDef | ast.ClassDef) -> ast.expr:
    return ast.copy_location(ast.Name("__shape_checked__", ast.Load()), node)


class _Loader(SourceFileLoader):
    def source_to_code(self, data, path, *, _optimize: int = -1) -> CodeType:
        tree = ast.fix_missing_locations(_Decorate().visit(ast.parse(data, path)))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew each time: what lies beside the source was compiled without checks."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__shape_checked__"] = shape_checked
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not is_checked(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


_early = [name for name in sys.modules if is_checked(name)]
if _early:
    raise RuntimeError(f"imported before their shapes could be checked: {', '.join(_early)}")
sys.meta_path.insert(0, _Finder())
