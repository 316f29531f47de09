"""`fastnn run`: a script of the books, unmodified, with the classes of its `common` computing on fastnn's kernels.

NumPy and the kernels are loaded when the script imports them, not before.
"""

import importlib.machinery
import io
import os
import sys
import time

from .. import dropin

_FLAGS = {
    "report": "at the end: calls, time, path taken and copies per layer and call site; why one fell back or converted",
    "verify": "run the original beside ours on some calls; at the end the largest error per layer and a verdict,"
    " with exit status 1 if they differ",
    "strict": "end with an error at the first class that is not replaced, or call that converts or falls back to NumPy",
    "float32": "compute in float32 what the script has in float64",
    "compat": "give NumPy back what it has dropped and the books use: np.int and others, int() of one-element arrays",
    "time": "at the end: how long it took, and how much of it was in fastnn's kernels",
}
_VALUES = "--backend", "--threads", "--report-json"
_USAGE = "fastnn run [options] SCRIPT [args ...] | fastnn run [options] -m MODULE [args ...]"
_BACKENDS = "native", "numba", "numpy"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _complaint(message, status) -> int:
    print(f"fastnn run: {message}", file=sys.stderr)
    return status


def main(argv) -> int:
    """Run `[options] SCRIPT [args]` -> exit status; what the script raises passes through."""
    at, module = _target(argv)
    try:
        options = _options(argv[:at])
    except ValueError as error:
        return _complaint(f"{error}; see fastnn run --help", 2)
    if options.pop("help", False):
        print(_help())
        return 0
    target = argv[at + module :]
    if not target:
        return _complaint("which script? " + _USAGE, 2)
    if "backend" in options:
        import fastnn

        fastnn.use_backend(options["backend"])  # says at once if it is not available
    try:
        prepared = _prepare_module(target) if module else _prepare_script(target)
        dropin.patch(**options, provide=True)
    except (OSError, ImportError, ValueError) as error:
        return _complaint(error, 2 if isinstance(error, OSError) else 1)
    return _run(*prepared)


def _target(argv):
    """(where the script or -m is, whether it is -m)."""
    i = 0
    while i < len(argv) and argv[i].startswith("-") and argv[i] != "-m":
        i += 1 + (argv[i] in _VALUES)
    return i, argv[i : i + 1] == ["-m"]


def _options(argv) -> dict:
    """{option: value}; ValueError for what is not one."""
    options: dict = {}
    words = iter(argv)
    for word in words:
        name, given, value = word.removeprefix("--").partition("=")
        if word in ("-h", "--help") or (name in _FLAGS and not given and word.startswith("--")):
            options["help" if word == "-h" else name] = True
        elif f"--{name}" in _VALUES and word.startswith("--"):
            options[name.replace("-", "_")] = value if given else next(words, "")
        else:
            raise ValueError(f"there is no option {word}")
    if "threads" in options:
        if not options["threads"].isdigit() or int(options["threads"]) < 1:
            raise ValueError(f"--threads takes a number from 1 on, not {options['threads']!r}")
        options["threads"] = int(options["threads"])
    if options.get("backend", "native") not in _BACKENDS:
        raise ValueError(f"--backend takes one of {', '.join(_BACKENDS)}, not {options['backend']!r}")
    if options.get("report_json") == "":
        raise ValueError("--report-json takes the name of a file")
    return options


def _help() -> str:
    values = {
        "--report-json FILE": "the report as JSON",
        "--backend NAME": f"{', '.join(_BACKENDS)}; default: the best one available",
        "--threads N": "at most N threads",
    }
    lines = [f"  {name:20} {text}" for name, text in [*((f"--{n}", t) for n, t in _FLAGS.items()), *values.items()]]
    return "\n".join([f"usage: {_USAGE}", "", *(__doc__ or "").strip().splitlines(), "", *lines])


# ---- what is to run ------------------------------------------------------------------------------------------------


def _prepare_script(target):
    """(the module's attributes, its source's bytes, folder for sys.path) of a script, or a folder with __main__.py."""
    path = os.path.abspath(target[0])
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        folder, path = path, os.path.join(path, "__main__.py")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no script {target[0]}")
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    _start(target, folder)
    return {"__file__": path, "__loader__": loader, "__spec__": None, "__package__": None}, path


def _prepare_module(target):
    """The same of a module by name, its package imported."""
    import importlib.util

    name = target[0]
    _start([*target], os.getcwd())
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.__main__"
        spec = importlib.util.find_spec(name)
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ImportError(f"there is no module {target[0]} that could be run")
    sys.argv[0] = spec.origin
    attributes = {"__file__": spec.origin, "__loader__": spec.loader, "__spec__": spec, "__package__": spec.parent}
    return attributes, spec.origin


def _start(argv, folder):
    """argv and the first place of sys.path as `python` sets them."""
    sys.argv = list(argv)
    if sys.flags.safe_path:
        sys.path.insert(0, folder)
    else:
        sys.path[0] = folder


def _run(attributes, path) -> int:
    before = sys.modules["__main__"]
    module = type(sys)("__main__")
    vars(module).update(attributes, __builtins__=before.__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    start = time.perf_counter()
    try:
        with io.open_code(path) as file:
            source = file.read()
        exec(_compiled(source, path), vars(module))
        return _failure(None)
    except SystemExit as error:
        if status := _failure(error):
            return status
        raise
    except dropin.StrictError as error:
        return _complaint(f"--strict: {error}", 1)
    except BaseException as error:
        _show(error)
        sys.excepthook = lambda *shown: None  # the interpreter only sets the exit status now, and ends by the signal
        raise
    finally:
        _flush()
        dropin.finish(time.perf_counter() - start)


def _failure(end):
    """1 if a script that has ended well caught an error of --strict, or differs from the original's; else 0."""
    if end is not None and end.code:
        return 0
    failure = dropin.session.strict_failure()
    if failure is not None:
        return _complaint(f"--strict: {failure}", 1)
    return 0 if dropin.session.verified() else 1


def _compiled(source, path):
    if dropin.session.active.options.compat:
        from ..dropin import oldnumpy

        return oldnumpy.compiled(source, path)
    return compile(source, path, "exec", dont_inherit=True)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


# ---- tracebacks ----------------------------------------------------------------------------------------------------


def _show(error):
    """What python prints for an unhandled exception, without our frames."""
    seen: set[int] = set()
    _strip(error, seen)
    sys.excepthook(type(error), error, error.__traceback__)
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and (found := dropin.session.active.provided.get(package)):
        _complaint(f"{package} {found}", 1)
    where = _broken_common(error)
    if where:
        _complaint(f"the reader's own {where} cannot be imported; plain python stops there too", 1)


def _strip(error, seen):
    import types

    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    entries = []
    traceback = error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if not name.startswith((_PACKAGE, "<frozen importlib")):
            entries.append(traceback)
        traceback = traceback.tb_next
    clean = None
    for entry in reversed(entries):
        clean = types.TracebackType(clean, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = clean
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _strip(other, seen)


def _broken_common(error):
    """The file of a package `common` that failed while it was imported; None if that is not what happened."""
    if isinstance(error, SyntaxError):
        path = error.filename
    else:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        top_level = traceback is not None and traceback.tb_frame.f_code.co_name == "<module>"
        path = traceback.tb_frame.f_code.co_filename if top_level else None
    return path if path and os.path.basename(os.path.dirname(path)) == "common" else None
