"""A web server on this machine that stands in for the servers of the full profile, and misbehaves when asked to.

What `https://HOST/PATH` gives stands at `http://127.0.0.1:PORT/HOST/PATH`, with headers and redirects of that host:

- huggingface.co: `resolve/REVISION/FILE` with X-Repo-Commit and an ETag that is the Git hash; weights lie in a store
  for large files, with X-Linked-ETag, X-Linked-Size and a redirect; `api/models/NAME` and its `revision` and `tree`.
- kaggle.com and tfhub.dev: `?tf-hub-format=compressed` leads to Google's storage, which states an MD5.
- Amazon's S3, whose ETag is an MD5.

All serve HEAD, ranges, If-Range and If-None-Match.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
GOOGLE = "storage.googleapis.com/kaggle-models"
PAUSE = 5.0  # seconds that a silent server waits at most


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one page: a `way` of `_Handler._disturb`, and what it needs of the rest.

    `keep` is the share of the body that arrives, `seconds` how long it takes, `times` for how many requests it lasts.
    """

    way: str
    body: bytes = b""
    keep: float = 0.5
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = PAUSE
    times: int = 10**6


class Standin:
    """The running server. `pages` maps HOST/PATH to bytes; `asked` lists method and page of each request."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = dict(pages)
        self.moved: dict[str, str] = {}  # what lies in a storage, by the page that leads there
        self.asked: list[tuple[str, str]] = []
        self._fault: tuple[str, Fault] | None = None
        self._released = threading.Event()
        self._http = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.address = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Standin:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()

    def url(self, published: str) -> str:
        """Where the page of a published address stands here."""
        return f"{self.address}/{published.partition('://')[2]}"

    @contextmanager
    def disturbed(self, page: str, fault: Fault) -> Iterator[None]:
        """The server with a fault of one page."""
        self._released.clear()
        self._fault = page, fault
        self._left = fault.times
        try:
            yield
        finally:
            self._fault = None
            self._released.set()

    def fault(self, page: str) -> Fault | None:
        """The fault that a request for a page meets, if any; called once for each request."""
        if not self._fault or self._fault[0] != page:
            return None
        self._left -= 1
        return self._fault[1] if self._left >= 0 else None

    def wait(self, seconds: float) -> None:
        """Let a request wait, but not longer than its fault lasts."""
        self._released.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *request: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # of a client that was killed
            super().handle_error(*request)


class _Handler(BaseHTTPRequestHandler):
    owner: Standin
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = address.path.lstrip("/")
        page = self.owner.moved.get(asked, asked)
        host, _, path = page.partition("/")
        self.owner.asked.append((self.command, asked))
        with suppress(BrokenPipeError, ConnectionResetError):
            if host == "huggingface.co" and path.startswith("api/models/"):
                self._hub_api(path.removeprefix("api/models/"))
            elif page not in self.owner.pages:
                self._send(b"Not found", {"X-Error-Code": "EntryNotFound"}, 404)
            elif host == "tfhub.dev":
                self._redirect(f"www.kaggle.com/{path}?{address.query}", {})
            elif host == "www.kaggle.com" and "tf-hub-format=compressed" not in address.query + asked:
                self._send(b"<!DOCTYPE html><title>A model</title>", {"Content-Type": "text/html"})
            else:
                self._page(page, host, moved=asked != page)

    def _page(self, page: str, host: str, moved: bool) -> None:
        """A file as its host sends it, or what the fault makes of it."""
        body = self.owner.pages[page]
        md5, sha256 = hashlib.md5(body), hashlib.sha256(body).hexdigest()
        headers = {"ETag": f'"{md5.hexdigest()}"'}
        if host == "huggingface.co":
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            hub = {"ETag": f'"{git}"', "X-Repo-Commit": COMMIT}
            if page.endswith(".safetensors") and not moved:
                linked = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(body))}
                return self._redirect(f"cdn-lfs.huggingface.co/{sha256}", hub | linked, page)
            headers = headers if moved else hub
        elif host == "www.kaggle.com":
            if not moved:
                return self._redirect(f"{GOOGLE}/{sha256}/tf-hub-format=compressed", {}, page)
            headers["x-goog-hash"] = f"md5={base64.b64encode(md5.digest()).decode()}"
        elif host == "s3.amazonaws.com":
            headers["Server"] = "AmazonS3"
        if fault := self.owner.fault(page):
            return self._disturb(body, headers, fault)
        return self._send(body, headers)

    def _disturb(self, body: bytes, headers: dict[str, str], fault: Fault) -> None:
        some = body[: round(fault.keep * len(body))]
        if fault.way == "status":
            self._send(b"<html>Not now</html>", {**fault.headers}, fault.status)
        elif fault.way == "other":  # with the headers of the right one
            self._send(fault.body, headers)
        elif fault.way == "silent":
            self.owner.wait(fault.seconds)
            self.close_connection = True
        elif fault.way == "slow":
            self._start(200, headers, len(body))
            for piece in range(20):
                self.wfile.write(body[piece * len(body) // 20 : (piece + 1) * len(body) // 20])
                self.owner.wait(fault.seconds / 20)
        else:
            way = fault.way.partition(" ")[2]
            length = {"without a length": None, "in chunks": "chunked"}.get(way, len(body))
            self._start(200, headers, length)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(some), some) if length == "chunked" and some else some)
            self.wfile.flush()
            if fault.way == "stalled":
                self.owner.wait(fault.seconds)
            self.close_connection = True

    def _send(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        """A whole body, a range of it, or only its headers."""
        headers = {"Accept-Ranges": "bytes", **headers}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if status == 200 and self.headers.get("If-None-Match", "") == headers.get("ETag", "none"):
            body, status = b"", 304
        elif (
            status == 200
            and wanted
            and self.headers.get("If-Range", headers.get("ETag")) == headers.get("ETag")
        ):
            first, last = int(wanted[1]), min(int(wanted[2] or len(body)), len(body) - 1)
            if first > last:
                body, status, headers["Content-Range"] = b"", 416, f"bytes */{len(body)}"
            else:
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                body, status = body[first : last + 1], 206
        self._start(status, headers, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _redirect(self, target: str, headers: Mapping[str, str], page: str = "") -> None:
        """Send the client on; `page` is what lies in a storage under that address."""
        if page:
            self.owner.moved[target] = page
        address = self.owner.address.replace("127.0.0.1", "localhost") if page else self.owner.address
        self._start(302, {**headers, "Location": f"{address}/{target}"}, 0)  # a storage is another host

    def _start(self, status: int, headers: Mapping[str, str], length: int | str | None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length == "chunked":
            self.send_header("Transfer-Encoding", length)
        elif length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _hub_api(self, path: str) -> None:
        """What the hub tells about a model: its commit and files, or the list of one revision."""
        name = "/".join(path.split("/")[:2])
        begin = f"huggingface.co/{name}/resolve/"
        files = {
            page.removeprefix(begin).partition("/")[2]: body
            for page, body in self.owner.pages.items()
            if page.startswith(begin)
        }
        if not files:
            return self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, 401)
        if "/tree/" in path:
            answer = [
                {"type": "file", "path": file, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for file, body in files.items()
            ]
        else:
            siblings = [{"rfilename": file} for file in files]
            answer = {"id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": siblings}
        return self._send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def log_message(self, *_: object) -> None:
        pass
