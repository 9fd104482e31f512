"""What each test's app would compile anew: templates, statements, builders of addresses."""

from collections.abc import Callable
from typing import Any

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule


class Compiled(BytecodeCache):
    """Keeps the compiled templates of this process; a changed one has another checksum."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


def keep_builders() -> None:
    """Let rules that are alike share what Werkzeug compiles for them: 40 ms for each app."""
    compile_builder: Callable[..., Any] = Rule._compile_builder
    kept: dict[str, Any] = {}

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        # The builder finds its converters in the rule that it is called on.
        key = repr((rule._trace, rule.defaults, append_unknown))
        if key not in kept:
            kept[key] = compile_builder(rule, append_unknown)
        return kept[key]

    Rule._compile_builder = compile_once  # type: ignore[method-assign]


def keep_statements() -> None:
    """Let all databases of a kind share the statements that SQLAlchemy compiles for them."""
    kept: LRUCache[Any, Any] = LRUCache(5000)

    class Statements(dict[Any, Any]):
        """A database's own keys begin with its dialect."""

        def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
            return kept.get((key[0].name, *key[1:]), default)

        def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
            kept[(key[0].name, *key[1:])] = compiled

    def share(connection: Connection) -> None:
        connection.engine._compiled_cache = statements

    statements = Statements()
    event.listen(Engine, "engine_connect", share)
