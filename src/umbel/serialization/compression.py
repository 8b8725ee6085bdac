"""Makes bodies smaller, and opens them again without being drowned.

A kilobyte can unpack to ten gigabytes, so nothing is ever unpacked in one go: every reader yields
pieces, and the first byte past the limit ends it.  Names and content types are Celery's; what is
called gzip there is a zlib stream, and both are read here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel.exceptions import DecodeError, EncodeError, SerializerNotInstalled, SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Compress = Callable[[bytes], bytes]
    Decompress = Callable[[bytes, int | None], bytes]

RESULT_MARK = b"\x00celery-compressed\x00"
_PIECE = 1024 * 1024
_ZLIB_OR_GZIP = 47
# Enough for every preset of xz; the header may ask for gigabytes.
_LZMA_MEMORY = 128 * 1024 * 1024
_ZSTD_WINDOW = 128 * 1024 * 1024
# One block of four bytes may stand for 128 KiB, so so few bytes at a time stay below 20 MiB.
_ZSTD_BITE = 512
_LONGEST_TYPE = 100


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to make bodies smaller."""

    content_type: str
    compress: Compress
    decompress: Decompress


class Compressions:
    """The compressions known by name or by content type."""

    __slots__ = ("_content_types", "_loaded", "_makers")

    def __init__(self) -> None:
        self._makers = dict(_BUILT_IN)
        self._loaded: dict[str, Compression] = {}
        self._content_types = {**_NAMES, **{ctype: ctype for ctype in _BUILT_IN}}

    def names(self) -> list[str]:
        """Every name that `find` takes, whether or not its package is installed."""
        return sorted(self._content_types)

    def register(
        self, name: str, encoder: Compress, decoder: Decompress, *, content_type: str
    ) -> None:
        """Make a compression known under its name and its content type; replaces what was there.

        Args:
            name: what settings call it.
            encoder: takes the body and returns it smaller.
            decoder: takes the small body and the most bytes it may become (None: any number), and
                returns the body; it should stop by itself at the first byte past that.
            content_type: travels in the ``compression`` header.
        """
        self._loaded[content_type] = Compression(content_type, encoder, decoder)
        self._content_types[name] = self._content_types[content_type] = content_type

    def unregister(self, name: str) -> None:
        """Forget a compression, under all of its names.

        Raises:
            SerializerNotInstalled: there is none of that name.
        """
        gone = self._content_type_of(name)
        self._loaded.pop(gone, None)
        self._makers.pop(gone, None)
        self._content_types = {n: c for n, c in self._content_types.items() if c != gone}

    def find(self, name: str) -> Compression:
        """The compression of that name or content type.

        Raises:
            SerializerNotInstalled: there is none, or its package is missing.
        """
        content_type = self._content_type_of(name)
        found = self._loaded.get(content_type)
        if found is None:
            found = self._loaded[content_type] = self._makers[content_type]()
        return found

    def _content_type_of(self, name: str) -> str:
        if name not in self._content_types:
            raise SerializerNotInstalled(name, self.names())
        return self._content_types[name]

    def compress(self, body: bytes, name: str) -> tuple[bytes, str]:
        """The body made smaller, and the content type for the ``compression`` header.

        Raises:
            SerializerNotInstalled: no compression of that name, or its package is missing.
            EncodeError: the compression failed.
        """
        compression = self.find(name)
        try:
            return compression.compress(body), compression.content_type
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            raise EncodeError(f"{name} compression failed: {error}") from error

    def decompress(self, body: bytes, content_type: str, *, limit: int | None) -> bytes:
        """The body as it was before `compress`, never more than ``limit`` bytes of it.

        Raises:
            SerializerNotInstalled: its package is missing here.
            DecodeError: no such compression, broken data, or more than ``limit`` bytes.
        """
        # Not a plain look-up: a sender may put anything into the header, unhashable things too.
        if content_type not in list(self._content_types):
            raise DecodeError(f"its compression {repr(content_type)[:_LONGEST_TYPE]} is not known")
        compression = self.find(content_type)
        try:
            opened = compression.decompress(body, limit)
        except (DecodeError, SoftTimeLimitExceeded):
            raise
        except Exception as error:
            raise DecodeError(f"its {compression.content_type} compression is broken") from error
        if limit is not None and len(opened) > limit:
            raise _too_big(limit)
        return opened

    def compress_result(self, payload: bytes, name: str) -> bytes:
        """A stored result, compressed and marked as such in the way Celery's readers know."""
        small, content_type = self.compress(payload, name)
        return RESULT_MARK + content_type.encode() + b"\x00" + small

    def decompress_result(self, payload: bytes, *, limit: int | None) -> bytes:
        """A stored result as it was; one that is not marked comes back unchanged.

        Raises:
            DecodeError: the mark is there and what follows is broken or too big.
        """
        if not payload.startswith(RESULT_MARK):
            return payload
        content_type, found, small = payload[len(RESULT_MARK) :].partition(b"\x00")
        if not found:
            raise DecodeError("its compression has no name")
        return self.decompress(small, content_type.decode("latin-1"), limit=limit)


def _collect(pieces: Iterator[bytes], limit: int | None) -> bytes:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if limit is not None and size > limit:
            raise _too_big(limit)
        kept.append(piece)
    return b"".join(kept)


def _too_big(limit: int) -> DecodeError:
    return DecodeError(f"decompressed it has more than {limit} bytes")


def _piece(limit: int | None) -> int:
    return _PIECE if limit is None else min(_PIECE, limit + 1)


def _at_end(stream: Any, *, eof: bool) -> None:
    if not eof:
        raise DecodeError("its compressed data is cut short")
    if stream.unused_data:
        raise DecodeError("there is something behind its compressed data")


def _zlib() -> Compression:
    import zlib

    def pieces(body: bytes, size: int) -> Iterator[bytes]:
        stream = zlib.decompressobj(_ZLIB_OR_GZIP)
        rest = body
        while not stream.eof:
            piece = stream.decompress(rest, size)
            if not piece and not stream.eof:
                break
            yield piece
            rest = stream.unconsumed_tail
        _at_end(stream, eof=stream.eof)

    def decompress(body: bytes, limit: int | None) -> bytes:
        return _collect(pieces(body, _piece(limit)), limit)

    return Compression("application/x-gzip", zlib.compress, decompress)


def _stepwise(content_type: str, compress: Compress, new_stream: Callable[[], Any]) -> Compression:
    # bz2, lzma and the standard library's zstd share one interface.
    def pieces(body: bytes, size: int) -> Iterator[bytes]:
        stream = new_stream()
        rest = body
        while not stream.eof:
            piece = stream.decompress(rest, size)
            if not piece and stream.needs_input and not stream.eof:
                break
            yield piece
            rest = b""
        _at_end(stream, eof=stream.eof)

    def decompress(body: bytes, limit: int | None) -> bytes:
        return _collect(pieces(body, _piece(limit)), limit)

    return Compression(content_type, compress, decompress)


def _bzip2() -> Compression:
    import bz2

    return _stepwise("application/x-bz2", bz2.compress, bz2.BZ2Decompressor)


def _lzma() -> Compression:
    import lzma

    return _stepwise(
        "application/x-lzma", lzma.compress, lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    )


def _brotli() -> Compression:
    brotli = _import("brotli", "brotli")

    def pieces(body: bytes, size: int) -> Iterator[bytes]:
        stream = brotli.Decompressor()
        rest = body
        while not stream.is_finished():
            piece = stream.process(rest, output_buffer_limit=size)
            if not piece and stream.can_accept_more_data():
                raise DecodeError("its compressed data is cut short")
            yield piece
            rest = b""

    def decompress(body: bytes, limit: int | None) -> bytes:
        return _collect(pieces(body, _piece(limit)), limit)

    return Compression("application/x-brotli", brotli.compress, decompress)


def _zstd() -> Compression:
    try:
        stdlib: Any = importlib.import_module("compression.zstd")
    except ImportError:
        return _zstandard()
    return _stepwise("application/zstd", stdlib.compress, stdlib.ZstdDecompressor)


def _zstandard() -> Compression:
    zstandard = _import("zstandard", "zstd")

    def pieces(body: bytes) -> Iterator[bytes]:
        # Its own bounded reader does not tell the end of the data from data cut short.
        stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        for start in range(0, len(body), _ZSTD_BITE):
            yield stream.decompress(body[start : start + _ZSTD_BITE])
            if stream.eof:
                if stream.unused_data or start + _ZSTD_BITE < len(body):
                    raise DecodeError("there is something behind its compressed data")
                return
        raise DecodeError("its compressed data is cut short")

    def decompress(body: bytes, limit: int | None) -> bytes:
        return _collect(pieces(body), limit)

    return Compression("application/zstd", zstandard.compress, decompress)


def _import(package: str, name: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SerializerNotInstalled(name, extra="compression") from error


_BUILT_IN: dict[str, Callable[[], Compression]] = {
    "application/x-gzip": _zlib,
    "application/x-bz2": _bzip2,
    "application/x-lzma": _lzma,
    "application/x-brotli": _brotli,
    "application/zstd": _zstd,
}
_NAMES = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}
