"""Which errors a function can raise, read from its source and from that of everything of ours that it calls or hands on."""

import ast
import inspect
import textwrap
import types
import typing

from towow.errors import TowowError

_OURS = ("server.", "towow.")


class Raised:
    """Finds the codes of the errors that functions raise; `known` says it for some functions, which are not looked into."""

    def __init__(self, known):
        self._known = known
        self._seen = {}

    def codes(self, function, owner=None):
        """The codes that a function can raise, `owner` being the class that it is a method of."""
        return set().union(*(self._own(each, of) for each, of in self._reached(function, owner)))

    def _reached(self, function, owner):
        """The function and everything of ours that it uses, however far away, each with its class."""
        reached, waiting = {}, [(function, owner)]
        while waiting:
            each, of = waiting.pop()
            if each in reached:
                continue
            reached[each] = of
            if each not in self._known:
                waiting += self._look(each, of)[1]
        return reached.items()

    def _own(self, function, owner):
        return self._known[function] if function in self._known else self._look(function, owner)[0]

    def _look(self, function, owner):
        """The codes that a function raises itself, and the functions that it names."""
        if function not in self._seen:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            codes, used = set(), []
            for node in ast.walk(tree):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    error = self._resolve(node.exc.func, function, owner)
                    if inspect.isclass(error) and issubclass(error, TowowError):
                        codes.add(error.code)
                elif isinstance(node, ast.Name | ast.Attribute):
                    found = self._resolve(node, function, owner)
                    if isinstance(found, types.FunctionType) and found.__module__.startswith(_OURS):
                        used.append((found, self._class_of(node, function, owner)))
            self._seen[function] = codes, used
        return self._seen[function]

    def _resolve(self, node, function, owner):
        """What a name or a dotted name stands for; None for what only a run knows."""
        if isinstance(node, ast.Name):
            local = node.id in (*function.__code__.co_varnames, *function.__code__.co_cellvars)
            return None if local else function.__globals__.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        base = self._class_of(node, function, owner) or self._resolve(node.value, function, owner)
        found = inspect.getattr_static(base, node.attr, None) if base is not None else None
        found = found.__func__ if isinstance(found, staticmethod | classmethod) else found
        return inspect.unwrap(found) if callable(found) and hasattr(found, "__wrapped__") else found

    def _class_of(self, node, function, owner):
        """The class in which an attribute is looked up: that of `self`, or that of a part which was handed to it."""
        if not isinstance(node, ast.Attribute):
            return None
        if isinstance(node.value, ast.Name):
            return owner if node.value.id == "self" else hints_of(function).get(node.value.id)
        if owner is None:
            return None
        is_part = isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name)
        return parts_of(owner).get(node.value.attr) if is_part and node.value.value.id == "self" else None


def hints_of(function):
    """The classes of a function's arguments by name."""
    return {name: hint for name, hint in typing.get_type_hints(function).items() if inspect.isclass(hint)}


def parts_of(owner):
    """The attributes that a class is handed when it is made, with their types: `self._log = log`."""
    if owner.__init__ is object.__init__:
        return {}
    hints = hints_of(owner.__init__)
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner.__init__)))
    return {
        node.targets[0].attr: hints[node.value.id]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in hints
    }
