"""Which modules read a setting, found by following annotations through the package's own source.

Nothing is declared and so nothing can go stale: a module counts as a reader when it takes an attribute of a value whose
annotations say that it is that section. Containers count as what they contain, unions as each of their members.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cbalign
from cbalign.experiment.fields import Found

# What only passes values on or tells about them.
_ONLOOKERS = ("cbalign.experiment", "cbalign.cli")
_PASSING_ON = ("enumerate", "zip", "list", "tuple", "sorted", "reversed", "iter", "next", "cast", "replace")

Types = frozenset[str]
_NOTHING: Types = frozenset()


def readers(found: Found) -> tuple[str, ...]:
    """The modules that read a setting, in alphabetical order; none where the package's source is not there."""
    return _readers().get((found.owner.__name__, found.setting.name), ())


@cache
def _readers() -> Mapping[tuple[str, str], tuple[str, ...]]:
    modules = dict(_modules(Path(cbalign.__file__).parent))
    known = _Known()
    for tree in modules.values():
        known.declare(tree)
    for tree in modules.values():  # a first round learns what methods store in `self`
        _Scan(known, set()).module(tree)
    readers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, tree in sorted(modules.items()):
        if not name.startswith(_ONLOOKERS):
            read: set[tuple[str, str]] = set()
            _Scan(known, read).module(tree)
            for setting in read:
                readers[setting].append(name)
    return {setting: tuple(names) for setting, names in readers.items()}


def _modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_bytes())


@dataclass
class _Known:
    """What annotations say: attributes and bases of classes, results of functions, names for unions."""

    attributes: dict[str, dict[str, Types]] = field(default_factory=lambda: defaultdict(dict))
    bases: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, Types] = field(default_factory=dict)
    unions: dict[str, ast.expr] = field(default_factory=dict)

    def declare(self, tree: ast.Module) -> None:
        """Take in the declarations of a module."""
        for node in tree.body:
            match node:
                case ast.ClassDef():
                    self._declare_class(node)
                case ast.FunctionDef(returns=ast.expr() as returns):
                    self.results[node.name] = self.names(returns)
                case ast.Assign(targets=[ast.Name(name)], value=ast.Subscript() | ast.BinOp() as value):
                    self.unions[name] = value
                case ast.AnnAssign(target=ast.Name(name), annotation=ast.Name("TypeAlias"), value=ast.expr() as value):
                    self.unions[name] = value

    def _declare_class(self, node: ast.ClassDef) -> None:
        self.bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != node.name]
        for inner in node.body:
            match inner:
                case ast.AnnAssign(target=ast.Name(name), annotation=annotation):
                    self.attributes[node.name][name] = self.names(annotation)
                case ast.FunctionDef(returns=ast.expr() as returns):
                    self.attributes[node.name][inner.name] = self.names(returns)

    def names(self, annotation: ast.expr) -> Types:
        """Every name that an annotation mentions."""
        names = set()
        for node in ast.walk(annotation):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names.add(node.value)
        return frozenset(names)

    def spelled_out(self, types: Types) -> Types:
        """The types with every named union replaced by its members."""
        found: set[str] = set()
        waiting = set(types)
        while waiting:
            name = waiting.pop()
            found.add(name)
            if name in self.unions:
                waiting |= self.names(self.unions[name]) - found
        return frozenset(found)

    def owner(self, name: str, attribute: str) -> str | None:
        """The class that declares the attribute: `name` or one of its bases."""
        if attribute in self.attributes.get(name, {}):
            return name
        return next((owner for base in self.bases.get(name, []) if (owner := self.owner(base, attribute))), None)


@dataclass
class _Scan:
    """One walk through a module, statement by statement, that knows the types of names."""

    known: _Known
    read: set[tuple[str, str]]
    scope: dict[str, Types] = field(default_factory=dict)
    inside: str | None = None

    def module(self, tree: ast.Module) -> None:
        self._statements(tree.body)

    def _statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.AST) -> None:
        match node:
            case ast.ClassDef():
                _Scan(self.known, self.read, dict(self.scope), node.name)._statements(node.body)
            case ast.FunctionDef():
                self._function(node)
            case ast.Assign():
                types = self._types(node.value)
                for target in node.targets:
                    self._bind(target, types)
            case ast.AnnAssign():
                found = self._types(node.value) if node.value else _NOTHING
                self._bind(node.target, found | self.known.names(node.annotation))
            case ast.For() | ast.comprehension():
                self._bind(node.target, self._types(node.iter))
                self._children(node, "body", "orelse", "ifs")
            case ast.Match():
                self._match(node)
            case ast.expr():
                self._types(node)
            case _:
                self._children(node, *node._fields)

    def _children(self, node: ast.AST, *names: str) -> None:
        for name in names:
            value = getattr(node, name, None)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self._statement(child)

    def _function(self, node: ast.FunctionDef) -> None:
        inner = _Scan(self.known, self.read, dict(self.scope), self.inside)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            inner.scope[argument.arg] = self.known.names(argument.annotation) if argument.annotation else _NOTHING
        if self.inside and arguments and arguments[0].arg == "self":
            inner.scope["self"] = frozenset({self.inside})
        inner._statements(node.body)

    def _match(self, node: ast.Match) -> None:
        types = self._types(node.subject)
        for case in node.cases:
            narrowed = frozenset(
                pattern.cls.id
                for pattern in ast.walk(case.pattern)
                if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name)
            )
            self._tell_apart(narrowed)
            if isinstance(node.subject, ast.Name):
                self.scope[node.subject.id] = narrowed or types
            for pattern in ast.walk(case.pattern):
                if isinstance(pattern, ast.MatchAs) and pattern.name:
                    self.scope[pattern.name] = narrowed or types
                if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name):
                    for attribute in pattern.kwd_attrs:
                        self._attribute(frozenset({pattern.cls.id}), attribute)
            self._children(case, "guard", "body")
        if isinstance(node.subject, ast.Name):
            self.scope[node.subject.id] = types

    def _tell_apart(self, names: Types) -> None:
        """Asking which variant a section is reads the key that tells variants apart, which comes first."""
        for name in names:
            first = next(iter(self.known.attributes.get(name, ())), None)
            if first is not None:
                self.read.add((name, first))

    def _bind(self, target: ast.expr, types: Types) -> None:
        match target:
            case ast.Name(name):
                self.scope[name] = types
            case ast.Attribute(value=ast.Name("self"), attr=name) if self.inside:
                known = self.known.attributes[self.inside]
                known[name] = known.get(name, _NOTHING) | types
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for each in targets:
                    self._bind(each, types)
            case ast.Starred(value=inner):
                self._bind(inner, types)

    def _types(self, node: ast.expr) -> Types:
        """The types that an expression can have, as far as annotations tell; notes what it reads on the way."""
        match node:
            case ast.Name(name):
                return self.scope.get(name, _NOTHING)
            case ast.Attribute():
                return self._attribute(self._types(node.value), node.attr)
            case ast.Call():
                return self._call(node)
            case ast.NamedExpr():
                types = self._types(node.value)
                self._bind(node.target, types)
                return types
            case ast.Subscript() | ast.Starred() | ast.Await():
                self._children(node, "slice")
                return self._types(node.value)
            case ast.IfExp():
                self._types(node.test)
                return self._types(node.body) | self._types(node.orelse)
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return _NOTHING.union(*map(self._types, parts))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                inner = _Scan(self.known, self.read, dict(self.scope), self.inside)
                inner._children(node, "generators")
                return inner._types(node.elt)
            case ast.DictComp() | ast.Lambda():
                inner = _Scan(self.known, self.read, dict(self.scope), self.inside)
                inner._children(node, "generators", "key", "value", "body")
                return _NOTHING
            case _:
                self._children(node, *node._fields)
                return _NOTHING

    def _attribute(self, types: Types, name: str) -> Types:
        found: set[str] = set()
        for each in self.known.spelled_out(types):
            owner = self.known.owner(each, name)
            if owner is not None:
                self.read.add((each, name))
                self.read.add((owner, name))
                found |= self.known.attributes[owner][name]
        return frozenset(found)

    def _call(self, node: ast.Call) -> Types:
        given = [self._types(argument) for argument in node.args]
        given += [self._types(keyword.value) for keyword in node.keywords]
        match node.func:
            case ast.Name("isinstance") if len(node.args) == 2:
                self._tell_apart(self.known.names(node.args[1]))
                return _NOTHING
            case ast.Name("getattr") if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                return self._attribute(given[0], str(node.args[1].value))
            case ast.Name(name) if name in self.known.attributes or name in self.known.bases:
                return frozenset({name})
            case ast.Name(name) if name in _PASSING_ON:
                return _NOTHING.union(*given)
            case ast.Name(name):
                return self.known.results.get(name, _NOTHING)
            case _:
                return self._types(node.func)
