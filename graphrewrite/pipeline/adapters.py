"""Passes that were written for something else: plain functions, onnx_ir passes, onnxscript rewrite rules, GraphSurgeon scripts.

In a user's file (`--passes default,my.py`) these become passes without another line:

- an object or a class of `onnx_ir.passes.PassBase`;
- an `onnxscript.rewriter.RewriteRuleSet` or `RewriteRule`;
- a function whose first parameter is annotated `onnx_graphsurgeon.Graph`: it changes the graph, or returns another;
- a function under `@as_pass`, over `(model, rewriter)`.

Their names are those of the variables, with dashes. What foreign code makes is brought in line afterwards: order, unique
names, constants as initializers, shapes, origins; inputs and outputs must stay what they are.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeAlias, overload

import onnx_ir.passes

from graphrewrite.errors import GraphRewriteError, UsageError
from graphrewrite.ir import Model
from graphrewrite.pipeline.foreign import Snapshot, adopt, from_graphsurgeon, structure, to_graphsurgeon
from graphrewrite.pipeline.passes import Label, Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics

PassClass: TypeAlias = "type[Pass]"


@overload
def as_pass(function: Callable[..., Any]) -> PassClass: ...
@overload
def as_pass(
    *,
    name: str | None = None,
    stage: Stage = Stage.FUSE,
    label: Label = Label.EXACT,
    after: Iterable[str] = (),
    targets: Iterable[str] | None = None,
) -> Callable[[Callable[..., Any]], PassClass]: ...


def as_pass(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    stage: Stage = Stage.FUSE,
    label: Label = Label.EXACT,
    after: Iterable[str] = (),
    targets: Iterable[str] | None = None,
) -> PassClass | Callable[[Callable[..., Any]], PassClass]:
    """Make a function over `(model, rewriter)` a pass; its keyword-only parameters with defaults are the options.

        @as_pass(after=("fuse-gelu",))
        def drop_debug_outputs(model, rewriter, *, prefix="debug"): ...

    The pass is called `drop-debug-outputs`, and on the command line `my.py:drop_debug_outputs{prefix="trace"}`.
    """

    def decorate(function: Callable[..., Any]) -> PassClass:
        options = [
            (parameter.name, Any, dataclasses.field(default=parameter.default))
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]

        def run(self: Pass, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
            result = function(model, rewriter, **{key: getattr(self, key) for key, _, _ in options})
            return result if isinstance(result, dict) else {}

        made = _pass_class(name or function.__name__, run, function.__module__, function.__doc__, options)
        made.stage, made.label, made.after = stage, label, tuple(after)
        made.targets = None if targets is None else frozenset(targets)
        return made

    return decorate if function is None else decorate(function)


def adapted_in(module: ModuleType) -> list[PassClass]:
    """Passes made of the foreign objects that `module` defines, in the order of its text."""
    found = []
    for name, item in vars(module).items():
        if name.startswith("_"):
            continue
        run = _runner(item, module)
        if run is not None:
            found.append(_pass_class(name, run, module.__name__, getattr(item, "__doc__", None), ()))
    return found


def _runner(item: object, module: ModuleType) -> Callable[[Pass, Model, Rewriter], Any] | None:
    if inspect.isclass(item):
        if issubclass(item, onnx_ir.passes.PassBase) and item.__module__ == module.__name__:
            return _ir_pass(item) if not inspect.isabstract(item) and _needs_nothing(item) else None
        return None
    if isinstance(item, onnx_ir.passes.PassBase):
        return _ir_pass(lambda: item)
    if _is_rule(item):
        return _rules(item)
    if inspect.isfunction(item) and item.__module__ == module.__name__ and _takes_graphsurgeon(item):
        return _graphsurgeon(item)
    return None


def _needs_nothing(item: type) -> bool:
    return all(
        parameter.default is not inspect.Parameter.empty
        or parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for parameter in inspect.signature(item).parameters.values()
    )


def _is_rule(item: object) -> bool:
    rewriter = sys.modules.get("onnxscript.rewriter")  # whoever has made a rule has imported it
    if rewriter is None:
        return False
    kinds = tuple(
        kind
        for name in ("RewriteRuleSet", "RewriteRule")
        if inspect.isclass(kind := getattr(rewriter, name, None))
    )
    return isinstance(item, kinds)


def _takes_graphsurgeon(function: Callable[..., Any]) -> bool:
    surgeon = sys.modules.get("onnx_graphsurgeon")
    if surgeon is None:
        return False
    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    except (NameError, TypeError, ValueError, SyntaxError):
        return False
    return (
        bool(parameters)
        and parameters[0].annotation is surgeon.Graph
        and all(item.default is not inspect.Parameter.empty for item in parameters[1:])
    )


def _ir_pass(make: Callable[[], Any]) -> Callable[[Pass, Model, Rewriter], Any]:
    def run(self: Pass, model: Model, rewriter: Rewriter) -> None:
        before = Snapshot.of(model)
        result = _called(self, make(), model)
        if result.model is not model:
            model.graph = result.model.graph
            model.opset_imports.update(result.model.opset_imports)
            model.functions.update(result.model.functions)
        if result.modified:
            adopt(self.name, model, rewriter, before)

    return run


def _rules(rules: Any) -> Callable[[Pass, Model, Rewriter], Any]:
    def run(self: Pass, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        before = Snapshot.of(model)
        count = int(_called(self, rules.apply_to_model, model))
        if count:
            adopt(self.name, model, rewriter, before, rewrites=count)
        return {self.name: RuleStatistics(applied=count)}

    return run


def _graphsurgeon(function: Callable[..., Any]) -> Callable[[Pass, Model, Rewriter], Any]:
    def run(self: Pass, model: Model, rewriter: Rewriter) -> None:
        before = Snapshot.of(model)
        graph = to_graphsurgeon(self.name, model)
        unchanged = structure(from_graphsurgeon(self.name, graph))
        result = _called(self, function, graph)
        changed = from_graphsurgeon(self.name, graph if result is None else result)
        if structure(changed) == unchanged:
            return
        model.graph = changed.graph
        adopt(self.name, model, rewriter, before)

    return run


def _called(item: Pass, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call foreign code; what it raises is told with the pass's name."""
    try:
        return function(*arguments)
    except GraphRewriteError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise UsageError(f"pass '{item.name}' failed: {type(error).__name__}: {error}") from error


def _pass_class(
    name: str,
    run: Callable[..., Any],
    module: str,
    doc: str | None,
    options: Iterable[tuple[str, Any, Any]],
) -> PassClass:
    """A pass class whose name in kebab case is `name` with dashes."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))

    def whole(self: Pass, model: Model, rewriter: Rewriter) -> Any:
        with rewriter.together():
            return run(self, model, rewriter)

    namespace = {"run": whole, "__module__": module, "__doc__": doc or f"The function `{name}`."}
    made: PassClass = dataclasses.make_dataclass(
        camel, list(options), bases=(Pass,), namespace=namespace, frozen=True
    )
    made.__module__ = module
    return made
