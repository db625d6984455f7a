"""A hub on this machine that speaks as much of the Hugging Face hub's protocol as vqcodec uses; files in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Repository:
    """commits: files by the id of the commit. revisions: branches and tags."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.revisions: dict[str, str] = {}

    def commit(self, changed: dict[str, bytes]) -> str:
        files = {**self.commits.get(self.revisions.get("main", ""), {}), **changed}
        digest = hashlib.sha1(json.dumps([sorted((n, hashlib.sha1(f).hexdigest()) for n, f in files.items())]).encode())
        oid = digest.hexdigest()
        self.commits[oid] = files
        self.revisions["main"] = oid
        return oid

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.revisions.get(revision)


class FakeHub:
    """requests: method and path of each request, in order. url: for HF_ENDPOINT."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.url = ""


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Runs until the block ends."""
    hub = FakeHub()

    class Handler(_Handler):
        owner = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._get(body=False)

    def do_GET(self) -> None:
        self._get(body=True)

    def do_POST(self) -> None:
        parts = self._parts()
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if parts[:3] == ["api", "repos", "create"]:
            wanted = json.loads(raw)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            if name in self.owner.repositories:
                self._answer(409, {"error": "exists", "url": f"{self.owner.url}/{name}"})
            else:
                self.owner.repositories[name] = Repository()
                self.owner.repositories[name].commit({".gitattributes": b""})
                self._answer(200, {"url": f"{self.owner.url}/{name}", "name": name})
            return
        if parts == ["api", "validate-yaml"]:
            self._answer(200, {"errors": [], "warnings": []})
            return
        name, repository = "/".join(parts[2:4]), self.owner.repositories.get("/".join(parts[2:4]))
        if repository is None:
            self._missing("RepoNotFound")
        elif parts[4] == "preupload":
            files = json.loads(raw)["files"]
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self._answer(200, {"files": modes})
        elif parts[4] == "commit":
            lines = [json.loads(line) for line in raw.splitlines() if line.strip()]
            changed = {
                each["value"]["path"]: base64.b64decode(each["value"]["content"])
                for each in lines
                if each["key"] == "file"
            }
            oid = repository.commit(changed)
            self._answer(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.owner.url}/{name}/commit/{oid}"})
        elif parts[4] == "tag":
            repository.revisions[json.loads(raw)["tag"]] = repository.find(parts[5]) or ""
            self._answer(200, {})
        else:
            self._answer(404, {"error": self.path})

    def _get(self, *, body: bool) -> None:
        parts = self._parts()
        is_api = parts[0] == "api"
        if parts[:2] == ["api", "whoami-v2"]:
            self._answer(200, {"name": "me", "type": "user", "orgs": []}, body=body)
            return
        repository = self.owner.repositories.get("/".join(parts[2:4] if is_api else parts[:2]))
        if repository is None:
            self._missing("RepoNotFound")
            return
        revision = (parts[5] if len(parts) > 5 else "main") if is_api else parts[3]
        commit = repository.find(revision)
        if commit is None:
            self._missing("RevisionNotFound")
        elif is_api and parts[4:5] == ["tree"]:
            files = repository.commits[commit]
            self._answer(200, [{"type": "file", "path": n, "size": len(f), "oid": _oid(f)} for n, f in files.items()])
        elif is_api:
            names = [{"rfilename": name} for name in repository.commits[commit]]
            data = {"id": "/".join(parts[2:4]), "sha": commit, "siblings": names, "private": False, "tags": []}
            self._answer(200, data, body=body)
        else:
            self._file(repository.commits[commit], "/".join(parts[4:]), commit, body=body)

    def _file(self, files: dict[str, bytes], name: str, commit: str, *, body: bool) -> None:
        if name not in files:
            self._missing("EntryNotFound", commit)
            return
        content = files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _missing(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, content: Any, *, body: bool = True) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def _parts(self) -> list[str]:
        self.owner.requests.append(f"{self.command} {self.path}")
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
