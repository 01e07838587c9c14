"""YAML as settings may hold it: plain values, each key once, neither deeper nor larger than a person would write."""

from typing import Any

import yaml

DEEPEST = 50
LARGEST = 2_000_000
"""Characters, where each alias counts as what it stands for: a few lines of aliases can stand for gigabytes."""


def parse_yaml(text: str) -> Any:
    """The one document of a text.

    Raises:
        ValueError: saying what is wrong and where.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, DEEPEST)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels deep") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a section, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{name}` stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Of what looks like a date or a number, and is none, PyYAML has no error of its own."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            found = f"{str(node.value)[:40]!r} is no {kind}; to mean a text, put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, found, node.start_mark) from None


def _measure(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Characters of a node, aliases written out.

    Raises:
        yaml.YAMLError: when there are too many, they stand too deep, or no file and no path could hold them.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    if not depth:
        raise RecursionError
    sizes[id(node)] = LARGEST + 1  # what stands for itself has no end
    if isinstance(node, yaml.ScalarNode):
        size = 1 + len(node.value)
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a character that no text holds (NUL, or half of a pair)", node.start_mark
            )
    else:
        parts = (part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,)))
        size = 1 + sum(_measure(part, sizes, depth - 1) for part in parts)
    if size > LARGEST:
        raise yaml.constructor.ConstructorError(
            None, None, f"with its aliases written out, longer than {LARGEST:,} characters", node.start_mark
        )
    sizes[id(node)] = size
    return size
