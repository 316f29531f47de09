"""The gallery: every example runs quickly, says its numbers and draws its pictures; its script is short and public."""

import ast
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn import examples, plots
from fastnn.cli import main
from fastnn.examples import EXAMPLES, Run, start, table

FOLDER = Path(examples.__file__).parent


def test_every_script_is_listed_and_every_listed_script_is_there():
    assert sorted(path.stem for path in FOLDER.glob("[a-z]*.py")) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_quick_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["examples", name, "--quick", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))
    assert results["rows"], "no table"
    printed = capsys.readouterr().out
    for row in results["rows"]:
        assert row["quantity"] in printed
        assert row["fastnn"] is not None
    for picture in results["pictures"]:
        assert (tmp_path / name / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", EXAMPLES)
def test_script_is_short_and_uses_public_names_only(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 90
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "__name__", node.attr
        if isinstance(node, ast.ImportFrom):
            assert all(not part.startswith("_") for part in (node.module or "").split("."))
            assert all(not alias.name.startswith("_") for alias in node.names)
            assert "pyplot" not in (node.module or "")


def test_list_names_and_an_unknown_name(capsys):
    assert main(["examples", "--names"]) == 0
    assert capsys.readouterr().out.split() == list(EXAMPLES)
    assert main(["examples"]) == 0
    listed = capsys.readouterr().out
    assert all(example.title in listed and example.title_ja in listed for example in EXAMPLES.values())
    assert main(["examples", "spirl"]) == 1
    assert "did you mean spiral" in capsys.readouterr().err


def test_without_matplotlib_there_are_numbers_and_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = Run("perceptron", quick=True, out=tmp_path)
    for _ in range(2):
        run.picture("curve", lambda: pytest.fail("drawn without matplotlib"))
    run.row("x", 1, 1.0)
    assert list(run.progress(3)) == [0, 1, 2]
    run.finish(1.0)
    printed = capsys.readouterr().out
    assert printed.count("matplotlib is not installed") == 1
    assert "quantity" in printed


def test_without_graphviz_graphs_are_dot_files_and_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    run = Run("network_graph", out=tmp_path)
    for _ in range(2):
        run.graph("net", plots.graph([2, 3, 2]))
    assert (tmp_path / "net.dot").read_text(encoding="utf-8").startswith("digraph")
    assert not run.pictures and not (tmp_path / "net.png").exists()
    assert capsys.readouterr().out.count("`dot` is not installed") == 1


def test_missing_data_is_said_and_replaced(tmp_path, capsys):
    run = Run("spiral", out=tmp_path)

    def missing():
        raise FileNotFoundError("ptb.train.txt was not found; get it from its mirror")

    assert run.load(missing, lambda: 3, "generated words") == 3
    printed = capsys.readouterr().out
    assert "get it from its mirror" in printed
    assert "Going on with generated words" in printed


def test_table():
    run = Run("spiral")
    run.row("accuracy", 0.9352, 0.93521, 2.22, 0.031)
    run.row("answers", [0, 1], None)
    assert table(run.rows).splitlines() == [
        "quantity  the document  fastnn  seconds (document / fastnn)",
        "--------  ------------  ------  ---------------------------",
        "accuracy  0.9352        0.9352  2.22 / 0.031",
        "answers   (0, 1)        -",
    ]


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        start(lambda run: pytest.fail("has begun"), "spiral", True, tmp_path / "file" / "spiral")


def test_a_quick_run_says_that_it_does_less(tmp_path, capsys):
    for quick in (True, False):
        start(lambda run: run.row("steps", 10000, 500), "spiral", quick, tmp_path)
        assert ("numbers and seconds do not compare" in capsys.readouterr().out) == quick


def test_results_are_json_where_numbers_are_not_finite(tmp_path, capsys):
    start(lambda run: run.row("overflow", None, np.array([np.nan, np.inf, 0.5])), "softmax", True, tmp_path)
    (row,) = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert row["fastnn"] == ["nan", "inf", 0.5] and "(nan, inf, 0.5)" in capsys.readouterr().out


def test_the_list_where_stdout_has_no_japanese(monkeypatch):
    for encoding, has in (("ascii", False), ("cp1252", False), ("cp932", True)):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding))
        assert main(["examples"]) == 0
        sys.stdout.flush()
        listed = written.getvalue().decode(encoding)
        assert EXAMPLES["spiral"].title in listed and (EXAMPLES["spiral"].title_ja in listed) == has


@pytest.mark.skipif(os.name == "nt", reason="a program of a shell script")
def test_where_graphviz_fails_there_are_numbers_and_one_sentence(tmp_path, monkeypatch, capsys):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = Run("network_graph", out=tmp_path)
    for _ in range(2):
        run.graph("net", plots.graph([2, 3, 2]))
    assert (tmp_path / "net.dot").is_file() and not run.pictures
    assert capsys.readouterr().out.count("no fonts") == 1
