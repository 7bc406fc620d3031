"""From the bytes of a file to text: gzip, character encoding, files that are not what their name says.

The encoding is decided by the whole file, never by its beginning, in this order: what the person declared; a
byte order mark; UTF-32 or UTF-16 without one (the zero bytes show it); UTF-8; GB18030, if the result reads
like Chinese (almost any bytes decode as GB18030, so decoding alone proves nothing: a Latin-1 file would
become nonsense in silence). Anything else is refused with the place of the first byte that does not fit.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from ..recipe.errors import DataError
from ..recipe.messages import say

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = (
    (b"PK\x03\x04", "zip / xlsx / docx"),
    (b"%PDF-", "PDF"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"\xd0\xcf\x11\xe0", "xls / doc"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_COMMON = frozenset(
    "，。、：；？！“”‘’（）《》…—·【】\u3000"
    "的一是不了在人有我他这为之大来以个中上们到说时要就出会可也你对生能而子那得于着下自年过发后作里用道行所然家种"
    ""
    ""
    ""
    "事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日三无者何曰与书请什问"
    ""
    ""
    ""
    "题文品店這個們來為國說時會對後發學當沒動還進樣開從實經過於與書請問題"
)
_COMMON_SHARE = 0.1
"""Of Chinese prose and verse, 20 to 50 % of the characters are in ``_COMMON``; of other languages' bytes read
as GB18030, less than 9 % (measured on Latin-1, Big5, Shift-JIS, EUC-KR, EUC-JP and CP1251)."""


@dataclass(slots=True)
class Content:
    """What a file is before its rows are known. ``head`` holds the first bytes, decompressed; ``size`` is on
    disk.
    """

    path: str
    is_compressed: bool
    sha256: str
    size: int
    head: bytes
    raw: IO[bytes] | None = None
    """The file as last opened: its position tells how far reading has come."""

    def position(self) -> int:
        """How many of the ``size`` bytes have been read."""
        return self.size if self.raw is None or self.raw.closed else self.raw.tell()


def look(path: str) -> Content:
    """Reads the file once: its hash and, where it is compressed, that it is whole.

    Raises DataError for an empty file, a Git LFS pointer and a damaged or truncated gzip file.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            head = file.read(_CHUNK)
            digest.update(head)
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                digest.update(chunk)
            size = file.tell()
    except OSError as error:
        raise DataError(
            say(
                "{path}: cannot be read: {why}.",
                "{path}：无法读取：{why}。",
                path=path,
                why=error.strerror or error,
            )
        ) from None
    is_compressed = head.startswith(_GZIP)
    if is_compressed:
        head = _whole_gzip(path)
    content = Content(path, is_compressed, digest.hexdigest(), size, head)
    _refuse_impostors(content)
    return content


def open_bytes(content: Content) -> IO[bytes]:
    """The bytes of the file, decompressed."""
    raw = open(content.path, "rb")  # noqa: SIM115 - the caller closes it
    content.raw = raw
    if not content.is_compressed:
        return raw
    unpacked = gzip.GzipFile(fileobj=raw, mode="rb")
    unpacked.myfileobj = raw  # type: ignore[assignment]  # closing the one closes the other
    return unpacked  # type: ignore[return-value]


def open_text(content: Content, encoding: str, newline: str | None) -> io.TextIOWrapper:
    """The text of the file; ``newline`` as in ``open``."""
    return io.TextIOWrapper(open_bytes(content), encoding=encoding, newline=newline)


def find_encoding(content: Content, declared: str | None = None) -> str:
    """The encoding in which the whole file decodes, as a Python codec name. Raises DataError if there is
    none.
    """
    for magic, what in _BINARY:
        if content.head.startswith(magic):
            raise DataError(_binary(content.path, what))
    if declared is not None:
        return _declared(content, declared)
    for mark, encoding in _MARKS:
        if content.head.startswith(mark):
            failure = _failure(content, encoding)
            if failure is None:
                return encoding
            raise DataError(_misfit(content, encoding, failure))
    if b"\0" in content.head[:4096]:
        return _wide(content)
    failure = _failure(content, "utf-8")
    if failure is None:
        return "utf-8"
    if _is_chinese(content):
        return "gb18030"
    raise DataError(_unknown_encoding(content, failure))


def line_of(content: Content, position: int) -> int:
    """The line (from 1) that holds the byte at ``position`` of the decompressed content."""
    with open_bytes(content) as file:
        return file.read(position).count(b"\n") + 1


def _whole_gzip(path: str) -> bytes:
    """The first decompressed bytes; raises DataError unless the file decompresses to its end and its checksum
    fits.
    """
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(_CHUNK)
            while file.read(_CHUNK):
                pass
    except EOFError:
        raise DataError(
            say(
                "{path}: the gzip file is cut off: its end mark is missing. Download or copy it again; "
                "none of it is used.",
                "{path}：gzip 文件被截断，缺少结尾标记。请重新下载或复制；未使用其中任何内容。",
                path=path,
            )
        ) from None
    except (zlib.error, OSError) as error:
        raise DataError(
            say(
                "{path}: the gzip file is damaged ({why}). Download or copy it again.",
                "{path}：gzip 文件已损坏（{why}）。请重新下载或复制。",
                path=path,
                why=error,
            )
        ) from None
    return head


def _refuse_impostors(content: Content) -> None:
    path, head = content.path, content.head
    if head.strip() in (b"", *(mark for mark, _ in _MARKS)):
        raise DataError(say("{path}: the file is empty.", "{path}：文件是空的。", path=path))
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            say(
                "{path}: this is a Git LFS pointer, the data itself was not downloaded. "
                "In its repository type: git lfs pull",
                "{path}：这是 Git LFS 指针，数据本身没有下载。请在其仓库中执行：git lfs pull",
                path=path,
            )
        )


def _declared(content: Content, encoding: str) -> str:
    try:
        b"x".decode(
            encoding, "replace"
        )  # a codec from bytes to bytes (hex, rot13) is no encoding: LookupError
        codecs.getincrementaldecoder(encoding)
    except (LookupError, UnicodeError):
        raise DataError(
            say(
                "{path}: no character encoding is named '{encoding}'. Examples: utf-8, gb18030, big5, "
                "utf-16, "
                "shift_jis, cp1252, latin-1.",
                "{path}：没有名为“{encoding}”的字符编码。例如：utf-8、gb18030、big5、utf-16、shift_jis、"
                "cp1252、latin-1。",
                path=content.path,
                encoding=encoding,
            )
        ) from None
    if codecs.lookup(encoding).name == "utf-8" and content.head.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    failure = _failure(content, encoding)
    if failure is not None:
        raise DataError(_misfit(content, encoding, failure))
    return encoding


def _texts(content: Content, encoding: str) -> Iterator[str]:
    """The decoded text in pieces. Raises UnicodeDecodeError whose ``start`` is the position in the whole
    content.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    consumed = 0
    with open_bytes(content) as file:
        while True:
            chunk = file.read(_CHUNK)
            consumed += len(chunk)
            try:
                yield decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder keeps the beginning of a character between chunks: error.object is that and the
                # chunk.
                start = consumed - len(error.object) + error.start
                raise UnicodeDecodeError(encoding, error.object, start, start + 1, error.reason) from None
            if not chunk:
                return


def _failure(content: Content, encoding: str) -> int | None:
    """The position of the first byte that does not decode; None if all do. Raises DataError for zero
    characters.
    """
    try:
        if any("\0" in text for text in _texts(content, encoding)):
            raise DataError(_binary(content.path, _zeros()))
    except UnicodeDecodeError as error:
        return error.start
    except UnicodeError:  # some codecs do not say where
        return 0
    return None


def _wide(content: Content) -> str:
    """UTF-32 or UTF-16 without a mark, as the places of the zero bytes say; else the file is binary."""
    head = content.head[:4096]
    odd, even = head[1::2].count(0), head[0::2].count(0)
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le" if odd > even else "utf-16-be"):
        if _is_clean(content, encoding):
            return encoding
    raise DataError(_binary(content.path, _zeros()))


def _is_clean(content: Content, encoding: str) -> bool:
    """Whether it decodes, without control characters and with next to no unprintable ones."""
    odd = total = 0
    try:
        for text in _texts(content, encoding):
            if _CONTROL.search(text):
                return False
            total += len(text)
            if not text.isascii():
                odd += sum(not (character.isprintable() or character.isspace()) for character in text)
    except UnicodeDecodeError:
        return False
    return odd <= 0.02 * total


def _is_chinese(content: Content) -> bool:
    common = total = 0
    try:
        for text in _texts(content, "gb18030"):
            foreign = [character for character in text if character > "\x7f"]
            total += len(foreign)
            common += sum(character in _COMMON for character in foreign)
    except UnicodeDecodeError:
        return False
    return common >= _COMMON_SHARE * total


def _binary(path: str, what: str) -> str:
    return say(
        "{path}: not a text file ({what}). Allowed: JSON, JSON Lines, CSV, TSV, Parquet, .txt, .md, each "
        "also as .gz. "
        "Export the data as one of these.",
        "{path}：不是文本文件（{what}）。可用：JSON、JSON Lines、CSV、TSV、Parquet、.txt、.md，均可压缩为 "
        ".gz。请导出为其中一种。",
        path=path,
        what=what,
    )


def _misfit(content: Content, encoding: str, position: int) -> str:
    return say(
        "{path}, line {line} (byte {byte}): the text does not fit the encoding {encoding}. "
        "Declare the right one: encoding: gb18030 (or big5, cp1252 …).",
        "{path} 第 {line} 行（第 {byte} 字节）：文本不符合编码 {encoding}。请声明正确的编码：encoding: "
        "gb18030（或 big5、cp1252 等）。",
        path=content.path,
        line=line_of(content, position),
        byte=position + 1,
        encoding=encoding,
    )


def _unknown_encoding(content: Content, position: int) -> str:
    with open_bytes(content) as file:
        file.seek(max(0, position - 20))
        around = file.read(40)
    return say(
        "{path}, line {line} (byte {byte}, 0x{value}): neither UTF-8 nor Chinese in GB18030. Read as cp1252 "
        "it says: "
        "“{around}”. Declare the encoding (encoding: cp1252, or big5, shift_jis …) or save the file as "
        "UTF-8.",
        "{path} 第 {line} 行（第 {byte} 字节，0x{value}）：既不是 UTF-8，也不像 GB18030 中文。按 cp1252 "
        "读作“{around}”。"
        "请声明编码（encoding: cp1252，或 big5、shift_jis 等），或把文件另存为 UTF-8。",
        path=content.path,
        line=line_of(content, position),
        byte=position + 1,
        value=f"{around[min(20, position)]:02x}",
        around=" ".join(around.decode("cp1252", "replace").split()),
    )


def _zeros() -> str:
    return say("it holds zero bytes", "含有零字节")
