"""House rules that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KERNELS = sorted((ROOT / "src" / "kernels").glob("*.[ch]*"))

pytestmark = pytest.mark.skipif(not KERNELS, reason="the sources are not here")


def python_files():
    readers = ROOT / "tests" / "dropin"  # scripts as readers of the books write them
    found = [p for folder in ("fastnn", "bench", "tests") for p in (ROOT / folder).rglob("*.py")]
    return [p for p in found if readers not in p.parents]


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_kernels_know_nothing_of_python_or_the_standard_library(path):
    includes = re.findall(r"#include\s+<([^>]+)>", path.read_text())
    allowed = {"cstddef", "cstdint", "cstring", "type_traits", "immintrin.h", "arm_neon.h", "math.h"}
    assert set(includes) <= allowed


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_threads_only_in_parallel_h(path):
    assert "#pragma omp" not in path.read_text()
    if path.name not in ("parallel.h", "threads.h"):
        assert "threads.h" not in path.read_text()


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_intrinsics_only_in_simd_h(path):
    if path.name not in ("simd.h", "gemm.h"):
        assert not re.search(r"\b(_mm\d*_|v\w+q_f(32|64)\()", path.read_text())


def test_no_fast_math():
    texts = [ROOT / "CMakeLists.txt", *(ROOT / "cmake").glob("*"), ROOT / "pyproject.toml"]
    for path in texts:
        assert not re.search(r"-ffast-math|-Ofast|-march=native", path.read_text()), path


def test_nothing_unpickles_freely():
    for path in python_files():
        if path.name not in ("pickles.py", "test_pickles.py", "test_dropin_pickles.py", "test_codebase.py"):
            text = path.read_text()
            assert not re.search(r"\bpickle\.loads?\(|allow_pickle=True|^import pickle", text, re.M), path


def test_numpy_is_the_only_import_that_is_needed():
    """Everything else is imported inside the function that needs it."""
    packages = "numba|matplotlib|tqdm|pooch|platformdirs|scipy|safetensors|torch|ruptures|jinja2|packaging"
    optional = re.compile(rf"^(?:import|from) ({packages})\b", re.M)
    for path in (ROOT / "fastnn").rglob("*.py"):
        if path.parent.name != "numba_backend":
            assert not optional.search(path.read_text()), path


def _opens_text_without_encoding(call):
    """open, read_text, write_text and subprocess with text=True depend on the user's locale without `encoding`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or None in given:  # None: **settings
        return False
    if name in ("read_text", "write_text"):
        return True
    if name == "open" and isinstance(call.func, ast.Name):
        mode = given.get("mode", call.args[1] if len(call.args) > 1 else None)
        return not (isinstance(mode, ast.Constant) and "b" in mode.value)
    return "text" in given or "universal_newlines" in given


def test_every_text_file_is_opened_with_an_encoding():
    found = []
    for path in (p for folder in ("fastnn", "bench", "tools") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _opens_text_without_encoding(node):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_kernels_do_not_look_at_the_active_table(path):
    """A plan keeps the instruction set that it was made with: what a kernel calls comes with its arguments."""
    if path.name not in ("table.h", "dispatch.cpp"):
        assert not re.search(r"\bactive(<|_table)", path.read_text())
