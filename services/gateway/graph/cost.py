"""What a document would cost, found out before any service is asked.

A field costs 1 for each row that it may be in, and is an ask more where a service answers it. Each
alias counts, and each use of a fragment; what is batched is asked for once, and is no ask.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from services.gateway.graph.fields import BATCHED

MOST_FIELDS = 5_000
MOST_ASKS = 20
MOST_DEPTH = 12
MOST_WRITTEN = 200  # each is compared to each of the same name, before anything else is known
MOST_VALUES = 1_000  # in variables; each is held against the schema, again and again
DEFAULT_ROWS = 20  # as the schema says of each `limit`


class Cost(NamedTuple):
    """Fields in all rows, questions to services, and how deep selections lie in each other."""

    fields: int = 0
    asks: int = 0
    depth: int = 0

    def beside(self, other: "Cost") -> "Cost":
        """Both, one after the other."""
        deeper = max(self.depth, other.depth)
        return Cost(self.fields + other.fields, self.asks + other.asks, deeper)

    def over(self) -> str:
        """What of it is too much; nothing if it is not."""
        if self.depth > MOST_DEPTH:
            return f"The document is {self.depth} levels deep; {MOST_DEPTH} are allowed."
        if self.asks > MOST_ASKS:
            return f"The document asks services {self.asks} times; {MOST_ASKS} are allowed."
        if self.fields > MOST_FIELDS:
            return f"The document costs {self.fields} fields; {MOST_FIELDS} are allowed."
        return ""


def written(document: DocumentNode) -> int:
    """How many fields and fragments the document selects, as it stands there."""
    count, nodes = 0, list[Node](document.definitions)
    while nodes:
        selected = getattr(nodes.pop(), "selection_set", None)
        if selected is not None:
            count += len(selected.selections)
            nodes += selected.selections
    return count


def overfull(variables: Mapping[str, Any]) -> bool:
    """Whether variables hold more values than anybody needs; objects and lists are some as well."""
    count, values = 0, list[Any]([variables])
    while values and count <= MOST_VALUES:
        value = values.pop()
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, list):
            continue
        count += len(value)
        values += value
    return count > MOST_VALUES


class Meter:
    """Costs of one valid document; of each fragment once, however often it is used."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]
    ) -> None:
        self._schema, self._variables = schema, variables
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Cost] = {}

    def of(self, operation: OperationDefinitionNode) -> Cost:
        """The cost of an operation."""
        root = self._schema.get_root_type(operation.operation)
        return self._selected(operation.selection_set, root)

    def _selected(self, selected: SelectionSetNode, parent: GraphQLNamedType | None) -> Cost:
        cost = Cost()
        for node in selected.selections:
            if isinstance(node, FieldNode):
                cost = cost.beside(self._field(node, parent))
            elif isinstance(node, FragmentSpreadNode):
                cost = cost.beside(self._fragment(node.name.value))
            elif isinstance(node, InlineFragmentNode):
                on = node.type_condition
                type_ = self._schema.get_type(on.name.value) if on else parent
                inside = self._selected(node.selection_set, type_)
                cost = cost.beside(inside._replace(depth=1 + inside.depth))
        return cost

    def _fragment(self, name: str) -> Cost:
        if name not in self._known:
            node = self._fragments[name]
            type_ = self._schema.get_type(node.type_condition.name.value)
            self._known[name] = self._selected(node.selection_set, type_)
        return self._known[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Cost:
        assert isinstance(parent, GraphQLObjectType)  # the schema has no other that has fields
        field = parent.fields.get(node.name.value)
        if field is None:  # about the schema itself, which its own rule limits
            return Cost(fields=1, depth=1)
        inside = Cost()
        if node.selection_set is not None:
            inside = self._selected(node.selection_set, get_named_type(field.type))
        rows = self._rows(node) if "limit" in field.args else 1
        asks = 0 if field.resolve is None or field.resolve in BATCHED else 1
        return Cost(1 + rows * inside.fields, asks + rows * inside.asks, 1 + inside.depth)

    def _rows(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value == "limit":
                value = argument.value
                if isinstance(value, IntValueNode):
                    return max(1, int(value.value))
                if isinstance(value, VariableNode):
                    return max(1, self._variables.get(value.name.value) or DEFAULT_ROWS)
        return DEFAULT_ROWS
