"""Executors are found by entry point: ours, those of others, and those that must be refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import StartRefused, UnknownExecutor
from executors import registry

EXAMPLE = Path(__file__).parents[1] / "data" / "plugin_example"


@pytest.fixture(autouse=True)
def fresh():
    registry.places.cache_clear()
    registry.get.cache_clear()
    yield
    registry.places.cache_clear()
    registry.get.cache_clear()


def install(folder, name, entry_points, module=""):
    """Make ``folder`` hold a distribution with these entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[entrance.executors]\n{entry_points}\n")
    if module:
        (folder / f"{name}.py").write_text(module)


def test_our_own_executors_are_declared_like_anyones():
    assert {"command", "echo", "sleep"} <= set(registry.names())
    for name in registry.names():
        executor = registry.get(name)
        assert executor.name == name
        assert executor.summary
        assert executor.columns
        assert 0 < executor.cores <= 4


def test_an_unknown_name_is_told_with_those_that_exist():
    with pytest.raises(UnknownExecutor, match=r"no executor nosuch; there are: .*echo"):
        registry.get("nosuch")


def test_two_executors_of_one_name_are_refused(tmp_path, monkeypatch):
    install(tmp_path, "impostor", "echo = impostor:Echo")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StartRefused, match="two executors are called echo: "):
        registry.names()


def test_one_that_cannot_be_loaded_is_left_out_and_told(tmp_path, monkeypatch, caplog):
    install(tmp_path, "broken", "broken = broken:Executor\nliar = broken:Liar", "class Liar:\n    name = 'honest'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StartRefused, match=r"executor broken \(broken:Executor\) cannot be loaded"):
        registry.get("broken")
    with pytest.raises(StartRefused, match=r"executor liar \(broken:Liar\) calls itself honest"):
        registry.get("liar")
    loaded = [executor.name for executor in registry.load_all()]
    assert "echo" in loaded
    assert "broken" not in loaded
    assert [record.executor for record in caplog.records] == ["broken", "liar"]


def test_the_page_about_writing_an_executor_shows_that_package_whole():
    page = (EXAMPLE.parents[2] / "docs" / "writing-an-executor.md").read_text()
    for kind, name in (("python", "wordcount.py"), ("ini", "setup.cfg"), ("toml", "pyproject.toml")):
        assert f"```{kind}\n{(EXAMPLE / name).read_text()}```" in page, name


def test_a_package_from_outside_the_tree_is_installed_and_runs(tmp_path):
    source = shutil.copytree(EXAMPLE, tmp_path / "source")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, env={**os.environ, "PIP_NO_CACHE_DIR": "1"})
    text = tmp_path / "text.txt"
    text.write_text("one two\nthree\n" * 1000)
    code = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from attempts import RecordingSink, Starter
from executors import registry
from executors.launchers.local import LocalLauncher
executor = registry.get("wordcount")
launcher, sink = LocalLauncher(data=Path({str(tmp_path)!r}), instance="outside"), RecordingSink()
launcher.open(sink)
launcher.reconcile()
launcher.reconcile()
key = Starter(launcher, Path({str(tmp_path / "work")!r}))("wordcount", {{"path": {str(text)!r}, "batch": "4KiB"}})
end = sink.wait_end(key)
launcher.close(5)
print(json.dumps([registry.json_schema(executor), end.rows, sink.texts(key)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    schema, rows, texts = json.loads(done.stdout)
    assert schema["required"] == ["path"]
    assert (rows, texts) == ([[3000]], ["INFO 3000 words"])
