"""`--compat`: what NumPy has dropped and the books use: names such as np.int, int() of arrays of one element."""

import ast
import builtins
import sys
import warnings

_NAMES = {
    "int": int, "float": float, "bool": bool, "object": object, "str": str, "complex": complex, "long": int,
    "unicode": str,
}  # fmt: skip
_OTHER_NAMES = {
    "float_": "float64", "complex_": "complex128", "unicode_": "str_", "string_": "bytes_", "NaN": "nan", "Inf": "inf",
    "Infinity": "inf", "infty": "inf", "product": "prod", "cumproduct": "cumprod", "sometrue": "any", "alltrue": "all",
    "round_": "round", "row_stack": "vstack", "trapz": "trapezoid", "in1d": "isin", "bool8": "bool_", "int0": "intp",
    "asfarray": "asarray",
}  # fmt: skip
_CONVERSIONS = "int", "float", "complex"

_given: list[str] = []  # names that are there because of us


def restore_names(numpy) -> None:
    """Put the names that this NumPy lacks into it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in [*_NAMES.items(), *((old, getattr(numpy, new, None)) for old, new in _OTHER_NAMES.items())]:
            if value is not None and not hasattr(numpy, name):
                setattr(numpy, name, value)
                _given.append(name)


def run(module, loader) -> None:
    """Run a module of the reader's with int(), float() and complex() that take arrays of one element."""
    path = loader.get_filename(module.__name__)
    exec(compiled(loader.get_data(path), path), vars(module))


def compiled(source, path):
    """The code of a module, its calls int(x), float(x), complex(x) made by `convert`."""
    tree = compile(source, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    if any(_conversion(node) for node in ast.walk(tree)):
        for node in ast.walk(tree):
            if _conversion(node):
                node.args = [ast.copy_location(ast.Call(_converter(node), [node.args[0]], []), node)]
        ast.fix_missing_locations(tree)
    return compile(tree, path, "exec", dont_inherit=True)


def _conversion(node):
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _CONVERSIONS
        and len(node.args) == 1
        and not node.keywords
        and not isinstance(node.args[0], ast.Starred | ast.Constant)
        and not (isinstance(node.args[0], ast.Call) and getattr(node.args[0].func, "id", "") == _NAME)
    )


def _converter(node):
    return ast.copy_location(ast.Name(_NAME, ast.Load()), node)


_NAME = "_fastnn_scalar"


def scalar(x):
    """x, or the number in it if it is an array of one element."""
    return x.item() if getattr(x, "ndim", 0) and getattr(x, "size", 0) == 1 and hasattr(x, "item") else x


def install() -> None:
    setattr(builtins, _NAME, scalar)


def remove() -> None:
    """Take NumPy's names away again. `scalar` stays: modules that were compiled with it may still run."""
    while _given:
        delattr(sys.modules["numpy"], _given.pop())
