"""``pydantic=True``: arguments and return values checked against models where a task names them."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from umbel.carriers import is_model
from umbel.exceptions import MissingExtra

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Mapping, Sequence

    from umbel.arguments import Arguments


class Models:
    """The pydantic models among one task's parameters and its return value."""

    def __init__(
        self,
        arguments: Arguments,
        *,
        strict: bool,
        context: Mapping[str, Any],
        dump_kwargs: Mapping[str, Any] | None,
    ) -> None:
        _require_pydantic()
        self._signature = arguments.signature
        self._models = {
            name: model
            for name, parameter in arguments.signature.parameters.items()
            if (model := _model_of(arguments, name, parameter)) is not None
        }
        self._returns = _strip_optional(arguments.returns)
        self._strict = strict
        self._context = dict(context)
        self._dump_kwargs = {"mode": "json", **(dump_kwargs or {})}

    @property
    def names(self) -> list[str]:
        """The parameters that are models."""
        return list(self._models)

    def wrap(self, run: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
        """``run`` with its arguments validated and its return value dumped."""
        if is_async:

            async def arun(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = self.validate(args, kwargs)
                return self.dump_result(await run(*args, **kwargs))

            return arun

        def validated(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = self.validate(args, kwargs)
            return self.dump_result(run(*args, **kwargs))

        return validated

    def validate(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with models in place of the data that stands for them.

        Raises:
            pydantic.ValidationError: the data does not fit.
        """
        bound = self._signature.bind(*args, **kwargs)
        for name, model in self._models.items():
            value = bound.arguments.get(name)
            if value is not None:
                bound.arguments[name] = model.model_validate(
                    value, strict=self._strict, context=self._context
                )
        return bound.args, bound.kwargs

    def dump(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with models as plain data, where validating that gives the same model."""
        return tuple(map(self._dump_one, args)), {
            key: self._dump_one(value) for key, value in kwargs.items()
        }

    def _dump_one(self, value: Any) -> Any:
        if not is_model(type(value)):
            return value
        plain = value.model_dump(mode="json")
        try:
            same = type(value).model_validate(plain, context=self._context) == value
        except ValueError:
            same = False
        return plain if same else value

    def dump_result(self, value: Any) -> Any:
        """The return value as plain data, if it is of the annotated model."""
        if is_model(self._returns) and isinstance(value, self._returns):
            return value.model_dump(**self._dump_kwargs)
        return value


def _require_pydantic() -> None:
    try:
        import pydantic  # noqa: F401 - only to see that it is there
    except ImportError as error:
        raise MissingExtra("pydantic=True", "pydantic") from error


def _model_of(arguments: Arguments, name: str, parameter: inspect.Parameter) -> Any:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    annotation = _strip_optional(arguments.hint(name))
    return annotation if is_model(annotation) else None


def _strip_optional(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return choices[0] if len(choices) == 1 else annotation
    return annotation
