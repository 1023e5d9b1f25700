"""Secrets planted wherever a user may have them; none is found in anything that the lab writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slm_lightning import cli
from slm_lightning.errors import UsageError
from slm_lightning.lab.baselines import baseline_key
from slm_lightning.redact import RedactedStream, conceal, redact, redact_file
from slm_lightning.tracking import Record
from tests.support import REPOSITORY, Lab, start_lab, tiny, write_spec

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJlLXBsYW50ZWQ"
BODY = "MIIEpAIBAAKCAQEAplantedplantedplanted0123456789"
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"

IN_SPEC: dict[str, Any] = {
    "auth_token": "in spec: blanks, and 'quotes'",
    "login": {"user": "bob", "credentials": {"name": "bob", "pass": "spec-nested-pa$$,w0rd"}},
    "servers": [{"host": "h", "api_key": "spec-list-9f8e7d6c"}],
    "passwords": ["spec-plural-1a2b3c4d"],
    "pin_secret": 827364519283,
    "dsn": "postgresql://me:spec-dsn/p@ss@db.host/runs",
    "shapes": ["hf_specAbcDefGhiJkl", "AKIASPECEXAMPLE12345"],
    "hub": "https://hub.host/?access_token=spec-query-5e4d3c2b",
    "note": "${note}",
}
IN_ENVIRONMENT = {
    "HF_TOKEN": "environment-hub-a1b2c3",
    "AWS_SECRET_ACCESS_KEY": "environ/aws+wJalrXUtnFEMI/K7MDENG",
    "OPENAI_API_KEY": "sk-environmentAbcdefgh1234",
    "PGPASSWORD": "environmentpostgres",
    "MLFLOW_TRACKING_PASSWORD": "environment-mlflow-0099",
    "DATABASE_URL": "postgresql://me:environment-url-77aa@db/x",
    "DEPLOY_KEY_PASSPHRASE": "environment phrase with blanks",
}
IN_ARGUMENTS = {
    "--set env.web_password=argument-set-11zz": "argument-set-11zz",
    "--set env.web_token=hf_argumentAbcDefGhi": "hf_argumentAbcDefGhi",
    "--set env.proxy=http://me:argument-url-22yy@proxy:80/": "argument-url-22yy",
    "-s note=glpat-argument33xx44ww": "glpat-argument33xx44ww",
}
IN_ERRORS = [
    *("ghp_errorAbcDefGhiJkl0123", "github_pat_11ERRORABCDEF_xyz", "xoxb-error-1234567890"),
    *(JWT, PRIVATE_KEY, "AIzaSyErrorAbcDefGhiJklMnoPqrStuVwx12", "npm_errorAbcdefghijklmnop0123"),
    *("password=error-assigned-66uu", "Authorization: Bearer error.bearer.token-77tt"),
    *("redis://:error-url-88ss@cache:6379/0", "sk_live_errorAbcdefgh", "pypi-errorAgEIcHlwaS5vcmc"),
    *("dapi0123456789abcdef0123456789abcdef", "SG.errorabcdefghijklm.nopqrstuvwxyzabcdefgh"),
]
IN_REPOSITORY = {
    ".env": "DB_PASSWORD=repo$env,w0rd(1)\nexport API_TOKEN=repo-exported-99rr\n",
    "settings.py": "secret_key = 'repo-python-00qq'\nclient = login('hf_repoAbcDefGhiJkl')\n",
    "settings.json": '{"credentials": {"password": "repo-json-12pp"}}',
    "id_rsa": PRIVATE_KEY.replace("RSA", "OPENSSH").replace("planted", "repoKey"),
}
REMOTE = "https://oauth2:remote-glpat-34oo@git.host/group/lab.git"
FOUND = [  # what may be found nowhere, of each secret the part that tells it
    *("in spec: blanks, and", "spec-nested-pa$$,w0rd", "spec-list-9f8e7d6c", "spec-plural-1a2b3c4d"),
    *(
        "827364519283",
        "spec-dsn/p@ss",
        "hf_specAbcDefGhiJkl",
        "AKIASPECEXAMPLE12345",
        "spec-query-5e4d3c2b",
    ),
    *(IN_ENVIRONMENT[name] for name in IN_ENVIRONMENT if name != "DATABASE_URL"),
    "environment-url-77aa",
    *IN_ARGUMENTS.values(),
    *IN_ERRORS[:3],
    *(
        "c2lnbmF0dXJlLXBsYW50ZWQ",
        BODY,
        *IN_ERRORS[5:7],
        "error-assigned-66uu",
        "error.bearer.token-77tt",
    ),
    *("error-url-88ss", *IN_ERRORS[10:]),
    *("repo$env,w0rd(1)", "repo-exported-99rr", "repo-python-00qq", "hf_repoAbcDefGhiJkl"),
    *("repo-json-12pp", "repoKeyrepoKey", "remote-glpat-34oo"),
]


def traces(secret: str) -> Iterator[bytes]:
    """What a reader could make something of: the secret, and where it is long its last part."""
    yield secret.encode()
    if len(secret) >= 16:
        yield secret[len(secret) // 2 :].encode()


def leaks(place: str, text: bytes) -> list[str]:
    return [f"{secret} in {place}" for secret in FOUND if any(t in text for t in traces(secret))]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with this package that is not committed, files with secrets, and a remote."""
    folder = tmp_path / "repository"
    shutil.copytree(REPOSITORY / "slm_lightning", folder / "slm_lightning",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(folder)]
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-qm", "one"],
        ["remote", "add", "origin", REMOTE],
    ):
        subprocess.run([*git, *arguments], check=True)
    for name, text in IN_REPOSITORY.items():
        (folder / name).write_text(text)
    return folder


def test_forty_secrets_and_a_search(
    repository: Path, record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FOUND) >= 40 and len(set(FOUND)) == len(FOUND)
    for name, value in IN_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    env = {"name": "Leaky-v0", "entry_point": "tests.security.leaky:Leaky", "at": 300}
    spec = tiny(env={**env, **IN_SPEC, "says": IN_ERRORS}, meta={"max_session": 1, "max_trial": 2})
    spec["tiny"]["search"] = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
    write_spec(tmp_path / "spec.json", spec)
    arguments = [part for argument in IN_ARGUMENTS for part in argument.split(" ", 1)]
    path = f"{repository}{os.pathsep}{REPOSITORY}"
    process = start_lab("search", tmp_path / "spec.json", *arguments, cwd=repository, path=path)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 4, "all trials have failed, after they said what they know"
    assert not leaks("what the search prints", (out + err).encode()), err
    for command in (
        ["show", "tiny", "--json"],
        ["run", tmp_path / "spec.json", *arguments, "--set", "agent.algorithm.hf_repoAbcDefGhiJkl=1"],
        ["validate", tmp_path / "spec.json", *arguments[-2:]],
        ["list", "--kind", IN_ERRORS[0]],
    ):
        answer = lab(*command)
        assert not leaks(f"what {command} prints", (answer.out + answer.err).encode()), answer
    written = [file for file in record.root.rglob("*") if file.is_file()]
    assert not [leak for file in written for leak in leaks(str(file), file.read_bytes())]
    logs = [file for file in written if file.name == "session.log"]
    assert len(logs) >= 2
    for log in logs:
        text = log.read_text()
        for way in ("printed", "in pieces", "logged", "warned", "written past Python", "login failed"):
            assert f"{way} " in text
        assert text.count("[redacted]") >= 40
    (diff, *_) = (file.read_text() for file in written if file.name == "git.diff")
    assert all(f"b/{name}" in diff for name in IN_REPOSITORY) and diff.count("[redacted]") == 6
    tags = record.find("tiny").tags
    assert tags["mlflow.source.git.repoURL"] == "https://[redacted]@git.host/group/lab.git"
    assert "login failed" in next(r for r in record.runs(kind="session")).tags["slm.reason"]


def test_a_server_with_a_password(tmp_path: Path) -> None:
    variables = {"MLFLOW_TRACKING_URI": "http://me:server-password-56mm@127.0.0.1:9"}
    process = start_lab("list", cwd=tmp_path, variables=variables)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 6, err
    assert "127.0.0.1:9" in err and "server-password" not in out + err


@pytest.mark.parametrize(
    "url", [f"{kind}://me:sto:re/p@ss-78kk@127.0.0.1:9/x" for kind in ("postgresql", "nonsense")]
)
def test_a_storage_with_a_password(url: str, lab: Lab, tmp_path: Path, record: Record) -> None:
    spec = tiny(meta={"max_trial": 1})
    spec["tiny"]["search"] = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
    write_spec(tmp_path / "spec.json", spec)
    answer = lab("search", tmp_path / "spec.json", "--storage", url)
    assert answer.code in (3, 6) and "78kk" not in answer.out + answer.err


def test_a_token_that_begins_like_a_known_one_goes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_first8letters")
    assert (
        redact("login('hf_first8lettersAndMore') hf_first8letters.")
        == "login('[redacted]') [redacted]."
    )


def test_what_was_concealed_goes_wherever_it_occurs() -> None:
    conceal({"env": {"web_password": "c0ncealed&so on", "tokens": 3, "key": "abc", "pass": "wordplay"}})
    conceal("mysql://root:c0ncealed-url@host/db")
    assert redact("a c0ncealed&so on b c0ncealed%26so%20on c0ncealed%26so+on") == (
        "a [redacted] b [redacted] [redacted]"
    )
    assert redact("c0ncealed-url") == redact("wordplay") == "[redacted]"
    assert redact("abc 3 wordplays") == "abc 3 wordplays", "too short, or part of a word"


def test_a_stream_in_pieces(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as file:
        stream = RedactedStream(file)
        for piece in ("pass", "word=", "s3cret-in-pieces\nand ", "hf_abc", "defghijkl", "\nlast"):
            stream.write(piece)
        assert file.tell() and (tmp_path / "log").read_text().endswith("and [redacted]\n")
        stream.flush()
        assert (tmp_path / "log").read_text() == "password=[redacted]\nand [redacted]\nlast"


def test_a_file_without_secrets_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    path.write_bytes(b"plain \xff\r\n" * 1000)
    before = path.stat()
    redact_file(path)
    assert path.stat().st_ino == before.st_ino and path.read_bytes() == b"plain \xff\r\n" * 1000
    path.write_bytes(b"\xff hf_abcdefghijkl\r\n")
    redact_file(path)
    assert path.read_bytes() == b"\xff [redacted]\r\n"
    assert [file.name for file in tmp_path.iterdir()] == ["session.log"]


def test_the_name_of_a_baseline_holds_none() -> None:
    key = baseline_key("Web-v0", {"token": "planted-in-kwargs", "size": 3})
    assert json.loads(key.partition(" ")[2]) == {"token": "[redacted]", "size": 3}


def test_a_traceback(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """As the interpreter shows it at its end, where ``--debug`` lets it through."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["slm-lightning", "enjoy", "hf_traceAbcDefGhi", "--debug"])
    with pytest.raises(UsageError) as error:
        cli.main()
    sys.excepthook(error.type, error.value, error.tb)
    shown = capsys.readouterr().err
    assert "Traceback" in shown and 'no run "[redacted]"' in shown and "hf_trace" not in shown
