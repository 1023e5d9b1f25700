"""What no file of this repository does: load code as data, unpack, run text, or kill by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import REPOSITORY

FOLDERS = ("slm_lightning", "scripts", "tests", "benchmarks")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (REPOSITORY / folder).rglob("*")
    if path.is_file() and (path.suffix == ".py" or (folder == "scripts" and not path.suffix))
)

MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",
           "zipfile", "tarfile", "zipimport"}  # fmt: skip
"""That make objects of bytes, or files of archives."""
CALLS = {"eval", "exec", "compile", "execfile", "extractall", "unpack_archive",
         "system", "popen", "getoutput", "getstatusoutput", "unsafe_load", "full_load",
         "load_all", "add_safe_globals"}  # fmt: skip
METHODS = {"eval", "compile"}
"""Of these, what only the built-in of this name does: ``net.eval()`` is another thing."""
OPENERS = {"urlopen", "request", "http_request"}
"""That wait for a server for ever, unless they are told how long."""
WORDS = ("pkill", "killall", "curl | ", "| sh", "| bash")

ALLOWED = {
    (
        "slm_lightning/data/sealed.py",
        "pickle",
    ): "the name of the error that a refused checkpoint raises",
    ("slm_lightning/spec/parse.py", "yaml.load"): "with the loader of plain data that the file makes",
    ("tests/nets/test_norms.py", "pickle"): "nets of one's own survive a process boundary",
    ("tests/nets/test_arc.py", "pickle"): "the same",
    ("tests/lab/reproduce/test_packages.py", "zipfile"): "makes a wheel for pip",
    ("benchmarks/record_outage.py", "request without timeout"): "its connection has one",
    ("tests/security/payloads.py", "pickle"): "makes what is to be refused",
    ("tests/security/payloads.py", "zipfile"): "the same",
    ("tests/security/payloads.py", "tarfile"): "the same",
}


def sins(text: str) -> Iterator[str]:
    """What a Python file does that none should."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from ([node.module] if (node.module or "").split(".")[0] in MODULES else [])
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    parts = ast.unparse(node.func).split(".")
    name, owner = parts[-1], parts[0]
    given = {keyword.arg: keyword.value for keyword in node.keywords}

    def says(keyword: str, value: object) -> bool:
        return isinstance(given.get(keyword), ast.Constant) and given[keyword].value == value

    if name in CALLS and (len(parts) == 1 or name not in METHODS) and owner != "re":
        yield name
    if name == "load" and owner in ("torch", "yaml", "numpy", "np") and not says("weights_only", True):
        yield f"{owner}.load"
    if name == "fit" and "ckpt_path" in given and not says("weights_only", True):
        yield "fit without weights_only"
    if says("shell", True) or says("allow_pickle", True) or says("weights_only", False):
        yield "shell, allow_pickle or weights_only"
    if name == "mktemp" and owner in ("tempfile", "mktemp"):
        yield "mktemp"
    if name in OPENERS and "timeout" not in given:
        yield f"{name} without timeout"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_file_does_what_none_should(path: Path) -> None:
    name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
    if path != Path(__file__):
        assert [word for word in WORDS if word in text] == []
    if path.suffix == ".py" or "python" in text.partition("\n")[0]:
        assert [sin for sin in sins(text) if (name, sin) not in ALLOWED] == []


def test_every_exception_is_needed() -> None:
    for name, sin in ALLOWED:
        assert sin in set(sins((REPOSITORY / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import loads", "import tarfile as t", "import torch, shelve"),
        *("torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)"),
        *("yaml.load(t, Loader=yaml.UnsafeLoader)", "yaml.unsafe_load(t)", "np.load(p)"),
        *("eval('1')", "exec(text)", "compile(t, 'f', 'exec')", "os.system('ls')"),
        *("subprocess.run('ls', shell=True)", "os.popen('ls')", "tempfile.mktemp()"),
        *("shutil.unpack_archive(a)", "archive.extractall()", "urllib.request.urlopen(u)"),
        *("trainer.fit(s, ckpt_path=p)", "torch.serialization.add_safe_globals([x])"),
    ],
)
def test_the_list_sees_what_it_forbids(text: str) -> None:
    assert list(sins(text))


@pytest.mark.parametrize(
    "text",
    [
        *("net.eval()", "re.compile('a')", "torch.load(p, weights_only=True)", "torch.compile(net)"),
        *("urlopen(u, timeout=2)", "json.loads(t)", "trainer.fit(s, ckpt_path=p, weights_only=True)"),
    ],
)
def test_the_list_lets_pass_what_is_fine(text: str) -> None:
    assert not list(sins(text))
