"""What a task's function takes: its arguments checked at the call, and their types carried across.

Both are read from the signature once, when the task is made: how many arguments fit, and which
parameters are annotated with types that a message has no form for (see `umbel.carriers`).
"""

from __future__ import annotations

import inspect
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from umbel.carriers import carrier_for
from umbel.exceptions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from umbel.carriers import Carrier

_OPEN_ENDED = sys.maxsize


class Arguments:
    """The parameters of one task function, without the task itself for bound tasks.

    Attributes:
        signature: the parameters.
        carriers: those whose values travel as plain data, by name.
        most: how many positional arguments fit.
    """

    def __init__(self, function: Callable[..., Any], name: str, *, bound: bool = False) -> None:
        self.name = name
        signature = signature_of(function)
        parameters = list(signature.parameters.values())
        if bound:
            parameters = parameters[1:]
        self.signature = signature.replace(parameters=parameters)
        self._least, self.most = _bounds(parameters)
        self._in_order = [p.name for p in parameters if p.kind in _BY_POSITION]
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._others = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._hints = hints_of(function)
        self.carriers = {
            parameter.name: carrier
            for parameter in parameters
            if (carrier := carrier_for(self._hints.get(parameter.name))) is not None
        }

    @property
    def returns(self) -> Any:
        """The annotated return type, or None."""
        return self._hints.get("return")

    def hint(self, name: str) -> Any:
        """The annotation of a parameter, or None."""
        return self._hints.get(name)

    def room_beside(self, args: Sequence[Any], kwargs: Collection[str]) -> int:
        """How many more positional arguments fit beside these."""
        return self.most - len(args) - len(set(self._in_order).intersection(kwargs))

    # -- checking --------------------------------------------------------------------------

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse arguments the function would refuse.

        Raises:
            TypeError: naming the task and the parameter.
        """
        if not kwargs and self._least <= len(args) <= self.most:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(self._explain(error, args, kwargs)) from None

    def _explain(self, error: TypeError, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        text = f"{self.name}() {error}"
        unknown = next((name for name in kwargs if name not in self.signature.parameters), None)
        if len(args) > self.most:
            text += f": takes {self.most}, was given {len(args)}"
        elif unknown is not None and "unexpected" in text:
            text += did_you_mean(unknown, self.signature.parameters)
        return f"{text}; its signature is {self.signature}"

    # -- rebinding -------------------------------------------------------------------------

    def left_over(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments that positional ones do not stand for."""
        covered = self._in_order[: len(args)]
        return {name: value for name, value in kwargs.items() if name not in covered}

    def put_in(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keyword arguments over positional ones: those that are there already are replaced."""
        merged, rest = list(args), dict(kwargs)
        for index, name in enumerate(self._in_order[: len(merged)]):
            if name in rest:
                merged[index] = rest.pop(name)
        return tuple(merged), rest

    # -- carrying types --------------------------------------------------------------------

    def send(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, after: int = 0
    ) -> tuple[Sequence[Any], Mapping[str, Any], list[str]]:
        """The arguments as plain data, and the names of the parameters that were converted.

        ``after`` is how many arguments will be put before ``args``.
        """
        return self._convert(args, kwargs, "send", self.carriers, after=after)

    def receive(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], names: Any
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments with the named parameters built again in their annotated types.

        ``names`` come from a message; those that are not carried here are left alone.

        Raises:
            TypeError, ValueError, KeyError: the data does not fit the type.
        """
        if not isinstance(names, (list, tuple)):
            return args, kwargs
        wanted = {name: self.carriers[name] for name in self.carriers if name in names}
        args, kwargs, _ = self._convert(args, kwargs, "receive", wanted)
        return args, kwargs

    def _convert(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        direction: str,
        carriers: Mapping[str | None, Carrier] | Mapping[str, Carrier],
        *,
        after: int = 0,
    ) -> tuple[Sequence[Any], Mapping[str, Any], list[str]]:
        found: Any = carriers
        by_position = [
            self._in_order[index] if index < len(self._in_order) else self._rest
            for index in range(after, after + len(args))
        ]
        by_name = {
            name: name if name in self.signature.parameters else self._others for name in kwargs
        }
        changed: set[str] = set()

        def convert(name: str | None, value: Any) -> Any:
            carrier = found.get(name)
            if carrier is None:
                return value
            converted = getattr(carrier, direction)(value)
            if converted is not value:
                changed.add(name or "")
            return converted

        new_args = [convert(name, value) for name, value in zip(by_position, args, strict=True)]
        new_kwargs = {key: convert(by_name[key], value) for key, value in kwargs.items()}
        return new_args, new_kwargs, sorted(changed)


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _bounds(parameters: Sequence[inspect.Parameter]) -> tuple[int, int]:
    """How few and how many positional arguments fit when no keyword is given."""
    least = most = 0
    for parameter in parameters:
        match parameter.kind:
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                most += 1
                if parameter.default is parameter.empty:
                    least += 1
            case parameter.VAR_POSITIONAL:
                most = _OPEN_ENDED
            case parameter.KEYWORD_ONLY if parameter.default is parameter.empty:
                least = _OPEN_ENDED
            case _:
                pass
    return least, most


# -- reading annotations -------------------------------------------------------------------


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The function's signature, also where its annotations name what is not there at run time."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def annotations_of(function: Any) -> dict[str, Any]:
    """The annotations as they are written, or as far as they can be evaluated."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(function, format=Format.FORWARDREF)
    return dict(getattr(function, "__annotations__", {}))


def hints_of(function: Any) -> dict[str, Any]:
    """The annotations as types; one that cannot be evaluated is missing and spoils no other."""
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - annotations may name what is not there at run time
        inner = getattr(function, "__func__", function)
        namespace = getattr(inner, "__globals__", None)
        if namespace is None:
            namespace = vars(sys.modules.get(inner.__module__, SimpleNamespace()))
        return {
            name: hint
            for name, written in annotations_of(function).items()
            if (hint := _hint(name, written, namespace)) is not None
        }


def _hint(name: str, written: Any, namespace: dict[str, Any]) -> Any:
    holder: Any = SimpleNamespace(__annotations__={name: written})
    try:
        return get_type_hints(holder, globalns=namespace).get(name)
    except Exception:  # noqa: BLE001 - as above
        return None
