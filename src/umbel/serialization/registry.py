"""The serializers by name and by content type, and the order in which a body is let in.

What arrives is refused, measured, decompressed, measured again and decoded, in this order: nothing
of a body that is not accepted is ever touched.  A serializer is loaded when it is first used, so a
process that speaks JSON alone imports no other, and one whose package is missing is an error that
names the extra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    SerializerNotInstalled,
    SoftTimeLimitExceeded,
)
from umbel.serialization.compression import Compressions
from umbel.serialization.limits import DEFAULT_LIMITS
from umbel.serialization.opaque_codecs import (
    decode_pickle,
    decode_raw,
    encode_pickle,
    encode_raw,
    encode_text,
    text_encoding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import ModuleType

    from umbel.serialization.limits import Limits
    from umbel.serialization.tagged import TypeTable

RAW = "application/data"
# What cannot do anything when it is decoded is always let in.
TRUSTED = (RAW, "application/text", None, "")
_LONGEST_TYPE = 100
# Half the price of the constructor that NamedTuple writes.
_encoded = tuple.__new__


class Encoded(NamedTuple):
    """A value ready to travel, and what the receiver must know to read it.

    Attributes:
        content_type: names the format, e.g. ``application/json``.
        content_encoding: ``utf-8``, or ``binary`` for bytes that are no text.
        body: the bytes.
        compression: content type for the ``compression`` header; None if it is not compressed.
    """

    content_type: str
    content_encoding: str
    body: bytes
    compression: str | None = None


@dataclass(frozen=True, slots=True)
class Codec:
    """One format, loaded.

    Attributes:
        name: what settings call it.
        content_type: what messages call it.
        content_encoding: ``utf-8`` or ``binary``.
        encode: value to body; raises whatever the value provokes.
        decode: body, content encoding and limits to value; raises what the body provokes.
        check: raises DecodeError for a body that a receiver with these limits would refuse; None
            if only its size counts.
        plain: what ``encode`` puts in place of a value it has no form for.
        structured: whether what can be encoded can also be encoded in parts, so that an error can
            name the part that cannot.
        exact: the same format, refusing what would come back as plain data; None if every type
            comes back, or nobody knows.
    """

    name: str
    content_type: str
    content_encoding: str
    encode: Callable[[Any], bytes | str]
    decode: Callable[[bytes, str | None, Limits], Any]
    check: Callable[[bytes, Limits], None] | None = None
    plain: Callable[[Any], Any] | None = None
    structured: bool = True
    exact: Codec | None = None


class Registry:
    """Serializers, compressions and types, as one application uses them.

    Args:
        fast: False keeps to the standard library's JSON even where orjson is installed.
    """

    __slots__ = ("_fast", "_loaded", "_makers", "_names", "_types", "compressions")

    def __init__(self, *, fast: bool = True) -> None:
        self.compressions = Compressions()
        self._fast = fast
        self._types: TypeTable | None = None
        self._makers: dict[str, Callable[[Registry], Codec]] = dict(_BUILT_IN)
        self._names: dict[str | None, str] = dict(_NAMES)
        self._loaded: dict[str | None, Codec] = {}

    @property
    def types(self) -> TypeTable:
        """The types that have a form in json, msgpack and yaml besides the formats' own."""
        if self._types is None:
            from umbel.serialization.tagged import TypeTable

            self._types = TypeTable()
        return self._types

    # ------------------------------------------------------------------------------ what is known

    def names(self) -> list[str]:
        """The serializers' names, whether or not their packages are installed."""
        return sorted(self._makers)

    def register(
        self,
        name: str,
        encoder: Callable[[Any], bytes | str],
        decoder: Callable[[bytes], Any],
        content_type: str,
        content_encoding: str = "utf-8",
    ) -> None:
        """Make a format of your own known; replaces one of the same name.

        Its bodies are bound by the size limits alone, and like every other it is decoded only where
        ``accept_content`` lists it.

        Args:
            name: what settings call it.
            encoder: turns a value into bytes or text.
            decoder: turns the bytes back.
            content_type: what messages call it. Where several formats have the same, the one that
                was registered last reads it.
            content_encoding: ``utf-8``, or ``binary`` if the encoder returns bytes.
        """
        codec = Codec(
            name,
            content_type,
            content_encoding,
            encoder,
            lambda body, _encoding, _limits: decoder(body),
            structured=False,
        )
        self._forget(name)
        self._makers[name] = lambda _registry: codec
        self._names[content_type] = name

    def unregister(self, name: str) -> None:
        """Forget a format.

        Raises:
            SerializerNotInstalled: there is none of that name.
        """
        if name not in self._makers:
            raise SerializerNotInstalled(name, self.names())
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._makers.pop(name, None)
        self._loaded = {}
        for content_type in [key for key, owner in self._names.items() if owner == name]:
            # A built-in format whose content type was taken over gets it back.
            heir = _NAMES.get(content_type)
            if heir in self._makers:
                self._names[content_type] = heir
            else:
                del self._names[content_type]

    def find(self, name: str) -> Codec:
        """The format of that name or content type, loaded.

        Raises:
            SerializerNotInstalled: there is none, or its package is missing.
        """
        found = self._loaded.get(name)
        if found is None:
            owner = name if name in self._makers else self._names.get(name)
            if owner is None:
                raise SerializerNotInstalled(name, self.names())
            found = self._loaded[name] = self._makers[owner](self)
        return found

    # ---------------------------------------------------------------------------------- encoding

    def dumps(
        self,
        obj: Any,
        serializer: str = "json",
        *,
        compression: str | None = None,
        limits: Limits | None = None,
        where: str | Sequence[str] = "value",
        exact: bool = False,
    ) -> Encoded:
        """A value as bytes.

        Args:
            obj: what to encode.
            serializer: the format, by name or content type.
            compression: how to compress, by name or content type; None does not.
            limits: what receivers will take; None stands for `Limits()`. A body that they would
                refuse is refused here.
            where: what an error calls the value; a sequence names the elements of ``obj``, as
                ``("args", "kwargs", "embed")`` does for a task's body.
            exact: refuse enums, dataclasses and pydantic models, which would come back as plain
                data.

        Raises:
            EncodeError: a part of the value cannot be encoded (the error names it), or the body
                exceeds a limit.
            SerializerNotInstalled: no such format or compression, or its package is missing.
        """
        codec = self._loaded.get(serializer) or self.find(serializer)
        if exact and codec.exact is not None:
            codec = codec.exact
        try:
            body = codec.encode(obj)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            raise _culprit(obj, codec, where, error) from error
        encoding = codec.content_encoding
        if type(body) is not bytes:
            body, encoding = _as_bytes(body, encoding)
        if limits is None:
            limits = DEFAULT_LIMITS
        if compression is None and len(body) <= limits.harmless:
            return _encoded(Encoded, (codec.content_type, encoding, body, None))
        header = None
        try:
            if codec.check is not None:
                codec.check(body, limits)
            if compression is not None:
                limits.check_decompressed(body)
                body, header = self.compressions.compress(body, compression)
            limits.check_size(body)
        except DecodeError as error:
            raise EncodeError(f"receivers would refuse the body: {error.reason}") from None
        return _encoded(Encoded, (codec.content_type, encoding, body, header))

    # ---------------------------------------------------------------------------------- decoding

    def check_accepted(self, content_type: str | None, accept: Collection[str]) -> None:
        """Let a content type pass that may be decoded here.

        Args:
            content_type: what the sender says the body is; None and "" are raw bytes.
            accept: names or content types that may be decoded; raw bytes and text always may.

        Raises:
            ContentDisallowed: it is not accepted, or no format has it.
        """
        try:
            name = self._names.get(content_type)
        except TypeError:  # a sender may put anything into a header, unhashable things too
            name = None
        if name is None or not (
            name in accept or content_type in accept or content_type in TRUSTED
        ):
            raise ContentDisallowed(str(content_type)[:_LONGEST_TYPE], accept)

    def loads(
        self,
        body: bytes,
        content_type: str | None,
        content_encoding: str | None = None,
        *,
        accept: Collection[str],
        compression: str | None = None,
        limits: Limits | None = None,
    ) -> Any:
        """The value that a body stands for.

        Args:
            body: the bytes as they arrived.
            content_type: what the sender says they are; None and "" are raw bytes.
            content_encoding: what the sender says about text in them.
            accept: names or content types that may be decoded; raw bytes and text
                (``application/data``, ``application/text``) always may.
            compression: the message's ``compression`` header.
            limits: the most that is decoded; None stands for `Limits()`.

        Raises:
            ContentDisallowed: the content type is not accepted; the body was not touched.
            DecodeError: the body is not what it is said to be, or exceeds a limit.
            SerializerNotInstalled: it is accepted, but its package is missing here.
        """
        self.check_accepted(content_type, accept)
        codec = self._loaded.get(content_type) or self.find(content_type or RAW)
        if limits is None:
            limits = DEFAULT_LIMITS
        try:
            if content_encoding != codec.content_encoding:
                text_encoding(content_encoding)
            if type(body) is not bytes:
                body = _bytes_of(body)
            if compression:
                limits.check_size(body)
                body = self.compressions.decompress(body, compression, limit=limits.decompressed)
            elif len(body) > limits.harmless:
                limits.check_size(body)
            return codec.decode(body, content_encoding, limits)
        except (SoftTimeLimitExceeded, SerializerNotInstalled):
            raise
        except Exception as error:
            raise DecodeError(_reason(error), content_type or RAW) from error


def _culprit(obj: Any, codec: Codec, where: str | Sequence[str], error: Exception) -> EncodeError:
    from umbel.serialization.blame import find_culprit

    return find_culprit(obj, codec, where, error)


def _as_bytes(body: Any, encoding: str) -> tuple[bytes, str]:
    if isinstance(body, str):
        label = "utf-8" if encoding == "binary" else encoding
        try:
            return body.encode(label), label
        except (UnicodeEncodeError, LookupError) as error:
            raise EncodeError(f"the text is not {label}: {error.__class__.__name__}") from error
    if isinstance(body, (bytearray, memoryview, bytes)):
        return bytes(body), encoding
    raise EncodeError(f"the encoder returned {type(body)}, which is neither bytes nor text")


def _bytes_of(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytearray, memoryview, bytes)):
        return bytes(body)
    raise DecodeError(f"it is no bytes but {type(body)}")


def _reason(error: Exception) -> str:
    match error:
        case DecodeError():
            return error.reason
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "there is not enough memory for it"
        case _:
            # The texts of the parsers' errors quote no more of the body than a byte.
            return f"{type(error).__name__}: {error}"


# ------------------------------------------------------------------------------ the known formats


def _make_json(registry: Registry) -> Codec:
    from umbel.serialization import json_codec
    from umbel.serialization.json_bounds import check_json

    orjson: ModuleType | None = json_codec.find_orjson() if registry._fast else None  # noqa: SLF001 - same file
    types = registry.types
    return _with_exact_form(
        types,
        Codec(
            "json",
            "application/json",
            "utf-8",
            json_codec.json_encoder(types.plain, orjson),
            json_codec.json_decoder(types, orjson),
            check_json,
            types.plain,
        ),
        json_codec.json_encoder(types.exact, orjson),
    )


def _make_msgpack(registry: Registry) -> Codec:
    try:
        from umbel.serialization.msgpack_codec import msgpack_decoder, msgpack_encoder
    except ImportError as error:
        raise SerializerNotInstalled("msgpack", extra="msgpack") from error
    types = registry.types
    return _with_exact_form(
        types,
        Codec(
            "msgpack",
            "application/x-msgpack",
            "binary",
            msgpack_encoder(types.plain),
            msgpack_decoder(types),
            plain=types.plain,
        ),
        msgpack_encoder(types.exact),
    )


def _make_yaml(registry: Registry) -> Codec:
    try:
        from umbel.serialization.yaml_codec import yaml_decoder, yaml_encoder
    except ImportError as error:
        raise SerializerNotInstalled("yaml", extra="yaml") from error
    types = registry.types
    return _with_exact_form(
        types,
        Codec(
            "yaml",
            "application/x-yaml",
            "utf-8",
            yaml_encoder(types.plain),
            yaml_decoder(types),
            plain=types.plain,
        ),
        yaml_encoder(types.exact),
    )


def _with_exact_form(types: TypeTable, codec: Codec, encode: Callable[[Any], bytes | str]) -> Codec:
    return replace(codec, exact=replace(codec, encode=encode, plain=types.exact))


def _make_pickle(_registry: Registry) -> Codec:
    return Codec("pickle", "application/x-python-serialize", "binary", encode_pickle, decode_pickle)


def _make_raw(_registry: Registry) -> Codec:
    return Codec("raw", RAW, "binary", encode_raw, decode_raw, structured=False)


def _make_text(_registry: Registry) -> Codec:
    return Codec("text", "text/plain", "utf-8", encode_text, decode_raw, structured=False)


_BUILT_IN: dict[str, Callable[[Registry], Codec]] = {
    "json": _make_json,
    "msgpack": _make_msgpack,
    "pickle": _make_pickle,
    "raw": _make_raw,
    "text": _make_text,
    "yaml": _make_yaml,
}
_NAMES: dict[str | None, str] = {
    "application/json": "json",
    "application/x-msgpack": "msgpack",
    "application/x-python-serialize": "pickle",
    RAW: "raw",
    None: "raw",
    "": "raw",
    "application/text": "text",
    "text/plain": "text",
    "application/x-yaml": "yaml",
}
