"""Downloads from a local server that misbehaves in every way, text files, and archives."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.archives import make_tar, make_zip
from utils import downloads
from utils.downloads import SOURCES, Source, fetch, read_text, unpack, write_text
from utils.errors import CourseError

BODY = b'{"data": "' + bytes(range(97, 123)) * 20_000 + b'"}'
SIZE = len(BODY)
HASH = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says."""

    hits = 0

    def do_GET(self):
        type(self).hits += 1
        way = self.path.split("/")[1]
        if way in ("404", "500"):
            self.send_error(int(way))
            return
        if way == "hang":
            time.sleep(2)
            return
        body = {"wrong": b'{"data": "other"}', "login": b"<html>Please log in</html>"}.get(way, BODY)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body[: len(body) // 2] if way in ("cut", "stall") else body)
            if way == "stall":
                self.wfile.flush()
                time.sleep(2)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def offer(server, monkeypatch):
    """Make `fetch("data")` ask the server in a given way."""

    def choose(way, sha256=HASH, size=SIZE, base=server):
        monkeypatch.setitem(SOURCES, "data", Source(f"{base}/{way}/data.json", "CC0", sha256, size))

    return choose


def kept(cache):
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


def test_download_then_cache(cache, offer, capsys):
    offer("right")
    path = fetch("data")
    assert path.read_bytes() == BODY and kept(cache) == ["data.json"]
    assert re.search(
        r"data: downloading http://\S+/data.json \(0.5 MB; licence: CC0\)", capsys.readouterr().out
    )
    hits = Handler.hits
    assert fetch("data") == path and Handler.hits == hits
    assert capsys.readouterr().out == ""


def test_damaged_cache_is_downloaded_again(cache, offer):
    offer("right")
    fetch("data").write_bytes(b"damaged")
    assert fetch("data").read_bytes() == BODY


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("404", "the server answered 404 Not Found"),
        ("500", "the server answered 500 Internal Server Error"),
        ("cut", "the connection broke off"),
        ("hang", "the server was silent for 0.3 s"),
        ("stall", "the server was silent for 0.3 s"),
    ],
)
@pytest.mark.parametrize("sha256", [HASH, None])
def test_failures_keep_nothing_and_the_next_call_ends_right(cache, offer, way, message, sha256):
    offer(way, sha256)
    with pytest.raises(CourseError) as error:
        fetch("data")
    expected = rf"data\.json could not be downloaded from http://127\S+/{way}/data\.json, {message}; nothing was kept: "
    assert re.match(expected, str(error.value))
    assert str(error.value).endswith(f"put it at {cache / 'data.json'}.")
    assert "\n" not in str(error.value)
    assert kept(cache) == []
    offer("right", sha256)
    assert fetch("data").read_bytes() == BODY


def test_wrong_hash_names_both(cache, offer):
    offer("wrong")
    found = hashlib.sha256(b'{"data": "other"}').hexdigest()
    with pytest.raises(
        CourseError, match=f"wrong SHA-256, expected {HASH} and found {found}; nothing was kept"
    ):
        fetch("data")
    assert kept(cache) == []


def test_refused_connection(cache, offer):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    offer("right", base=f"http://127.0.0.1:{port}")
    with pytest.raises(CourseError, match="no connection to the server; nothing was kept.*by hand"):
        fetch("data")
    assert kept(cache) == []


def test_unknown_host(cache, offer):
    offer("right", base="http://name.invalid")
    with pytest.raises(CourseError, match="no connection to the server|silent"):
        fetch("data")
    assert kept(cache) == []


def test_first_hash_is_recorded_and_enforced(cache, offer):
    offer("right", sha256=None, size=None)
    path = fetch("data")
    record = cache / "data.json.sha256"
    assert record.read_text() == f"{HASH}  data.json\n"
    path.unlink()
    offer("wrong", sha256=None)
    with pytest.raises(CourseError, match=f"expected {HASH} and found .*; delete {record} if its publisher"):
        fetch("data")
    assert kept(cache) == [record.name]
    record.write_text("[1]")
    with pytest.raises(CourseError, match="data.json.sha256 holds no SHA-256 of data.json: delete it"):
        fetch("data")


def test_login_page_is_not_recorded(cache, offer):
    offer("login", sha256=None)
    with pytest.raises(CourseError, match="is no .json file; nothing was kept"):
        fetch("data")
    assert kept(cache) == []


def test_file_put_by_hand_counts(cache, offer):
    offer("404")
    cache.mkdir()
    (cache / "data.json").write_bytes(BODY)
    assert fetch("data") == cache / "data.json"


def test_full_disk(cache, offer, monkeypatch):
    offer("right", size=10**18)
    with pytest.raises(
        CourseError, match=r"data.json could not be written \(No space left on device\); nothing"
    ):
        fetch("data")
    offer("right")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CourseError, match="No space left on device"):
        fetch("data")
    assert kept(cache) == []


def test_interruption_keeps_nothing(cache, offer, monkeypatch):
    offer("right")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("data")
    assert kept(cache) == []


@pytest.mark.parametrize("file", ["data", "data.json"])
def test_course_data_comes_first(cache, offer, tmp_path, monkeypatch, capsys, file):
    offer("404")
    (tmp_path / file).write_bytes(BODY)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert fetch("data") == tmp_path / file
    assert capsys.readouterr().out == ""
    (tmp_path / file).write_bytes(b"my own sample")
    assert fetch("data") == tmp_path / file
    assert f"using {file} of COURSE_DATA, which is not the published file" in capsys.readouterr().out


def test_course_data_may_be_a_folder(cache, offer, tmp_path, monkeypatch):
    offer("404")
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert unpack(fetch("data"), cache / "unpacked") == tmp_path / "data"


def test_unknown_name():
    with pytest.raises(CourseError, match="'imdbb' is not a file the course knows: choose one of imdb, "):
        fetch("imdbb")


def test_every_source_is_usable():
    for name, source in SOURCES.items():
        assert source.url.startswith(("https://", "http://ai.stanford.edu/")), name
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256), name
        assert os.path.splitext(source.file)[1] in downloads.STARTS, name
    files = [source.file for source in SOURCES.values()]
    assert len(set(files)) == len(files)


def test_cache_is_outside_the_course():
    assert downloads.cache_dir().name == "transfer-learning-nlp"


# Text files


def test_read_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\nnoir\n")
    assert read_text(path) == "café\nnoir\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.txt is empty"),
        (b"\xef\xbb\xbf \n", "a.txt is empty"),
        (b"caf\xe9 noir", "a.txt is not UTF-8, its byte 3 is 0xe9: convert it, .*iconv"),
        (b"\xef\xbb\xbfab\xff", "byte 5 is 0xff"),
        ("text".encode("utf-16"), "byte 0 is 0xff"),
        (b"caf\xc3", "byte 3 is 0xc3"),
    ],
)
def test_bad_text(tmp_path, data, message):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(CourseError, match=message):
        read_text(path)


def test_missing_text(tmp_path):
    with pytest.raises(CourseError, match="absent.txt cannot be read .No such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(CourseError, match="is a folder"):
        read_text(tmp_path)


def test_write_text_removes_what_kills_left_long_ago(tmp_path):
    left = [tmp_path / ".old.part", tmp_path / ".new.part", tmp_path / "mine.part"]
    for path in left:
        path.touch()
    for path in (left[0], left[2]):
        os.utime(path, (time.time() - 3600,) * 2)
    write_text(tmp_path / "text", "one\n")
    assert sorted(tmp_path.iterdir()) == sorted([*left[1:], tmp_path / "text"]), "a new one may be in use"


def test_write_text_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one\n")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CourseError, match="b.txt cannot be written .No space"):
        write_text(path, "two\n")
    assert path.read_text() == "one\n" and kept(tmp_path) == ["a", "b.txt"]


# Archives


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_unpack(tmp_path, make, name):
    archive = make(tmp_path / name, {"top/one.txt": b"1", "./top/sub/two.txt": b"22"})
    folder = unpack(archive, tmp_path / "out")
    assert (folder / "top/one.txt").read_bytes() == b"1"
    assert (folder / "top/sub/two.txt").read_bytes() == b"22"
    archive.unlink()
    assert unpack(archive, folder) == folder
    assert kept(tmp_path) == ["one.txt", "out", "sub", "top", "two.txt"]


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
@pytest.mark.parametrize(
    "member", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt", "C:evil"]
)
def test_archives_cannot_leave_their_folder(tmp_path, make, name, member):
    archive = make(tmp_path / name, {"good.txt": b"1", member: b"evil"})
    with pytest.raises(CourseError, match="would leave its folder"):
        unpack(archive, tmp_path / "sub" / "out")
    assert kept(tmp_path) == [name, "sub"]


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(CourseError, match="'link', which is no plain file"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_bombs_are_refused(tmp_path, make, name):
    bomb = make(tmp_path / name, {"good.txt": b"1", "zeros": bytes(2**24)})
    assert bomb.stat().st_size < 2**15
    with pytest.raises(
        CourseError, match=f"{name} would unpack to more than 100 times its size.*do not use it"
    ):
        unpack(bomb, tmp_path / "out")
    assert kept(tmp_path) == [name]


def test_a_zip_file_with_a_password(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"secret"})
    data = bytearray(archive.read_bytes())
    for place in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[place] |= 1  # the flag of an encrypted member
    archive.write_bytes(data)
    with pytest.raises(CourseError, match="a.zip is damaged .*is encrypted, password required"):
        unpack(archive, tmp_path / "out")


def test_a_folder_that_another_process_has_just_unpacked(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"1"})
    rename = os.replace

    def late(whole, folder):
        shutil.copytree(whole, folder)
        rename(whole, folder)

    monkeypatch.setattr(os, "replace", late)
    assert kept(unpack(archive, tmp_path / "out")) == ["a.txt"] and kept(tmp_path) == [
        "a.txt",
        "a.zip",
        "out",
    ]


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_damaged_archive(tmp_path, make, name):
    archive = make(tmp_path / name, {f"{i}.txt": os.urandom(5000) for i in range(10)})
    whole = archive.read_bytes()
    flipped = bytes([whole[2000] ^ 255])
    for damaged in (whole[:20_000], whole[:2000] + flipped + whole[2001:], b"neither zip nor tar"):
        archive.write_bytes(damaged)
        with pytest.raises(CourseError, match=f"{name} is damaged .*get it again"):
            unpack(archive, tmp_path / "out")
        assert kept(tmp_path) == [name]
