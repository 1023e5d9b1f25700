"""A server that speaks the Hub's protocol as huggingface_hub 2.4 does: commits, branches, large files,
tokens, private repositories, lists; and that fails where it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from huggingface_hub import ModelCardData

from tests.hub.repositories import LARGE, FakeHub, Repo, described, oid

MISSING = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}


@contextmanager
def fake_hub(**tokens: str) -> Iterator[FakeHub]:
    """A Hub at a free port of this machine, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = server.hub = FakeHub(f"http://127.0.0.1:{server.server_port}", tokens)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_request(self) -> None:
        self.hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        self.body = self._body()
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.hub.requests.append((self.command, self.path))
        for fault in self.hub.faults:
            hit = fault.method == self.command and re.search(fault.path, parts.path)
            if hit and fault.done < fault.times:
                fault.done += 1
                if fault.status is None:
                    self._break(parts.path)
                else:
                    self.answer({"error": "told to fail"}, fault.status)
                return
        for method, pattern, act in ROUTES:
            if method in (self.command, "GET" if self.command == "HEAD" else "") and (
                found := re.fullmatch(pattern, parts.path)
            ):
                act(self, *(part and unquote(part) for part in found.groups()))
                return
        self.answer({"error": f"no such page: {self.path}"}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_request

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _break(self, path: str) -> None:
        """Ends the connection, of a download in the middle of the file."""
        self.close_connection = True
        if found := re.fullmatch(RESOLVE, path):
            repo = self.hub.repos["dataset" if found[1] else "model", found[2]]
            self._send_file(*repo.at(unquote(found[3])), unquote(found[4]), broken=True)  # type: ignore[misc]
        self.connection.close()

    def answer(self, data: Any, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(data).encode(), status, {"Content-Type": "application/json", **headers})

    def send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def right(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.hub.tokens.get(token)

    def visible(self, kind: str, name: str) -> Repo | None:
        """The repository, where the caller may see it; else says that there is none."""
        repo = self.hub.repos.get((kind, name))
        if repo and (self.right or not repo.private):
            return repo
        self.answer({"error": "Repository not found"}, 404 if self.right else 401, **MISSING)
        return None

    def writable(self, kind: str, name: str) -> Repo | None:
        if not self.right:
            self.answer({"error": "Unauthorized"}, 401)
            return None
        if self.right != "write" or name.split("/")[0] == self.hub.refuses_owner:
            self.answer({"error": "Forbidden: you must use a write token"}, 403)
            return None
        return self.visible(kind, name)

    def whoami(self) -> None:
        if not self.right:
            error = "Invalid credentials in Authorization header"
            return self.answer({"error": error}, 401, **{"X-Error-Message": error})
        token = {"type": "access_token", "accessToken": {"displayName": "t", "role": self.right}}
        return self.answer({"type": "user", "name": "me", "orgs": [{"name": "lab"}], "auth": token})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or "me"
        kind, name = asked.get("type") or "model", f"{owner}/{asked['name']}"
        if self.right != "write" or owner == self.hub.refuses_owner:
            return self.answer({"error": "Forbidden"}, 403 if self.right else 401)
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            return self.answer({"error": "You already created this repo", "url": url}, 409)
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.add(name, {".gitattributes": b"*.mp4 filter=lfs\n"}, kind, private)
        return self.answer({"url": url, "name": name})

    def validate(self) -> None:
        asked = json.loads(self.body)
        try:
            _, metadata, _ = asked["content"].split("---\n", 2)
            found = yaml.safe_load(metadata)
            if asked["repoType"] == "model":
                ModelCardData(**found)
        except (ValueError, TypeError, yaml.YAMLError) as error:
            return self.answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return self.answer({"errors": [], "warnings": []})

    def branch(self, kind: str, name: str, branch: str) -> None:
        if repo := self.writable(kind, name):
            if branch in repo.branches:
                return self.answer({"error": "Reference already exists"}, 409)
            repo.branches[branch] = list(repo.branches["main"])
            return self.answer({})
        return None

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if repo := self.writable(kind, name):
            there = (repo.at(revision) or ("", {}))[1]
            found = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if LARGE.fullmatch(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": oid(file["path"], there[file["path"]]) if file["path"] in there else None,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.answer({"files": found})

    def batch(self, prefix: str | None, name: str) -> None:
        if self.writable("dataset" if prefix else "model", name):
            objects = []
            for each in json.loads(self.body)["objects"]:
                upload = {"upload": {"href": f"{self.hub.url}/large/{each['oid']}", "header": {}}}
                known = each["oid"] in self.hub.large
                objects.append({**each, **({} if known else {"actions": upload})})
            self.answer({"transfer": "basic", "objects": objects})

    def take(self, digest: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self.answer({"error": "checksum mismatch"}, 400)
        self.hub.large[digest] = self.body
        return self.answer({})

    def commit(self, kind: str, name: str, branch: str) -> None:
        repo = self.writable(kind, name)
        if not repo:
            return
        lines = [json.loads(line) for line in self.body.splitlines()]
        head, files = repo.branches[branch][-1]
        if lines[0]["value"].get("parentCommit", head) != head:
            self.answer({"error": "A commit has happened since. Please refresh and try again."}, 412)
            return
        files = dict(files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                del files[value["path"]]
        sha = repo.commit(branch, files)
        self.answer({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def info(self, kind: str, name: str, revision: str | None = None) -> None:
        repo = self.visible(kind, name)
        if not repo:
            return
        found = repo.at(revision or "main")
        if not found:
            self.answer({"error": "Invalid rev id"}, 404, **{"X-Error-Code": "RevisionNotFound"})
            return
        self.answer(described(repo, *found))

    def tree(self, kind: str, name: str, revision: str) -> None:
        if repo := self.visible(kind, name):
            files = (repo.at(revision) or ("", {}))[1]
            rows = [
                {"type": "file", "oid": oid(p, b), "size": len(b), "path": p} for p, b in files.items()
            ]
            self.answer(rows)

    def listing(self, kind: str) -> None:
        (author,), wanted = self.query.get("author", [""]), set(self.query.get("filter", []))
        rows = [
            described(r, *r.branches["main"][-1]) for (k, _), r in self.hub.repos.items() if k == kind
        ]
        shown = [
            row
            for row in rows
            if row["id"].startswith(f"{author}/" if author else "")
            and wanted <= set(row["tags"])
            and (self.right or not row["private"])
        ]
        if "expand" in self.query:
            shown = [{key: row[key] for key in ("id", *self.query["expand"])} for row in shown]
        self.answer(shown)

    def resolve(self, prefix: str | None, name: str, revision: str, file: str) -> None:
        if repo := self.visible("dataset" if prefix else "model", name):
            found = repo.at(revision)
            if not found or file not in found[1]:
                self.answer({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
            else:
                self._send_file(*found, file)

    def _send_file(self, sha: str, files: dict[str, bytes], file: str, broken: bool = False) -> None:
        body = files[file]
        headers = {"ETag": f'"{oid(file, body)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(start[1]) if start else 0
        headers["Content-Length"] = str(len(body) - first)
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        part = body[first : first + (len(body) - first) // 2] if broken else body[first:]
        self.send(part, 206 if first else 200, headers)


RESOLVE = r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)"
OF = r"/api/(model|dataset)s/([^/]+/[^/]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", _Handler.whoami),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("POST", OF + r"/branch/([^/]+)", _Handler.branch),
    ("POST", OF + r"/preupload/([^/]+)", _Handler.preupload),
    ("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/large/([0-9a-f]{64})", _Handler.take),
    ("POST", OF + r"/commit/([^/]+)", _Handler.commit),
    ("GET", OF, _Handler.info),
    ("GET", OF + r"/revision/([^/]+)", _Handler.info),
    ("GET", OF + r"/tree/([^/]+)", _Handler.tree),
    ("GET", r"/api/(model|dataset)s", _Handler.listing),
    ("GET", RESOLVE, _Handler.resolve),
]
