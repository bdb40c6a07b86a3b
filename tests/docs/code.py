"""Reads a parsed Python file: the names it defines, the members of its classes, its identifiers, its flags."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Module:
    """The names that a module defines or imports, and the members of its classes."""

    names: frozenset[str]
    members: Mapping[str, frozenset[str]]


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def module(tree: ast.Module) -> Module:
    classes = {node.name: frozenset(members(node)) for node in tree.body if isinstance(node, ast.ClassDef)}
    return Module(frozenset(_defined(tree.body)), classes)


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign():
                yield from plain_names(node.targets)
            case ast.AnnAssign():
                yield from plain_names([node.target])
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            case _:
                continue


def members(node: ast.ClassDef) -> Iterator[str]:
    yield from _defined(node.body)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            yield inner.attr


def inherited(name: str, own: Mapping[str, set[str]], bases: Mapping[str, set[str]]) -> set[str]:
    """The members of a class; a `*` among them stands for those of a base that is not ours."""
    found = set(own[name])
    for base in bases[name] - {name, "Generic", "Protocol"}:
        found |= inherited(base, own, bases) if base in own else {"*"}
    return found


def plain_names(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.Subscript():
                yield from plain_names([node.value])
            case ast.Tuple():
                yield from plain_names(node.elts)
            case _:
                continue


def identifiers(tree: ast.Module) -> Iterator[str]:
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in said:
                yield from re.findall(r"\w+", text)
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg() | ast.keyword():
                yield node.arg or ""
            case ast.alias():
                yield from node.name.split(".")
            case ast.ImportFrom():
                yield from (node.module or "").split(".")
            case _:
                continue


def flags(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and [*plain_names([node.func])] in (["add_argument"], ["Option"]):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from (flag for flag in argument.value.split("/") if flag.startswith("-"))
    for node in ast.walk(tree):
        # Typer makes a flag of the name of the parameter where the option has no name of its own.
        if isinstance(node, ast.arg) and node.annotation is not None and "typer.Option" in ast.unparse(node.annotation):
            yield f"--{node.arg.replace('_', '-')}"
