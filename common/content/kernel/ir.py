"""Writing LLVM IR as text, one value per line: what both kernels need of it and no more.

Values and pointers are the IR's own names, as ``str``. Nothing is optimised afterwards, so what is written here is what
runs: the order of the lines is the order in which independent work is interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

NO_UNROLL = ("!0 = distinct !{!0, !1}", '!1 = !{!"llvm.loop.unroll.disable"}')
"""Metadata that ``Emitter.loop`` refers to: unrolled rounds would not fit the micro-op cache."""


class Emitter:
    """Collects the text of a module. ``T`` is the vector type that arithmetic works on."""

    def __init__(self, vector: str) -> None:
        self.T = vector
        self._declared: dict[str, str] = {}
        self._lines: list[str] = []
        self._count = 0

    def module(self, *tail: str) -> str:
        """Return the module: declarations, functions, then ``tail`` and the loop metadata."""
        return "\n".join([*self._declared.values(), *self._lines, *tail, *NO_UNROLL, ""])

    def line(self, text: str) -> None:
        """Write one line as it is."""
        self._lines.append(text)

    def value(self, expression: str) -> str:
        """Write ``%n = expression`` and return the name."""
        self._count += 1
        self._lines.append(f"  %v{self._count} = {expression}")
        return f"%v{self._count}"

    def label(self) -> str:
        """Return a number that no other label has."""
        self._count += 1
        return str(self._count)

    # ---- functions

    def function(self, signature: str, body: Callable[[], None], attributes: str = "") -> None:
        """Define ``void @signature``."""
        self.line(f"define void @{signature} nounwind {attributes} {{\nentry:")
        body()
        self.line("  ret void\n}")

    def call(self, result: str, name: str, *arguments: tuple[str, str], declaration: str | None = None) -> str:
        """Call an intrinsic and return its value; it is declared once. Arguments are (type, value)."""
        kinds = declaration or ", ".join(kind for kind, _ in arguments)
        self._declared[name] = f"declare {result} @{name}({kinds})"
        return self.value(f"call {result} @{name}(" + ", ".join(f"{kind} {value}" for kind, value in arguments) + ")")

    # ---- memory

    def at(self, pointer: str, index: int | str, element: str | None = None) -> str:
        """Return the address of element ``index`` (a vector when no type is given)."""
        return self.value(f"getelementptr {element or self.T}, ptr {pointer}, i64 {index}")

    def room(self, count: int, element: str | None = None) -> str:
        """Return ``count`` elements of stack, aligned to 64 bytes. To be used at the start of a function."""
        return self.value(f"alloca [{count} x {element or self.T}], align 64")

    def load(self, pointer: str, align: int, kind: str | None = None) -> str:
        """Load a value."""
        return self.value(f"load {kind or self.T}, ptr {pointer}, align {align}")

    def store(self, value: str, pointer: str, align: int, kind: str | None = None) -> None:
        """Store a value."""
        self.line(f"  store {kind or self.T} {value}, ptr {pointer}, align {align}")

    # ---- arithmetic on vectors of 32-bit words

    def op(self, operation: str, left: str, right: str) -> str:
        """Apply a binary operation to two vectors."""
        return self.value(f"{operation} {self.T} {left}, {right}")

    def add(self, left: str, right: str) -> str:
        """Add modulo 2^32."""
        return self.op("add", left, right)

    def shuffle(self, count: int, element: str, left: str, right: str, lanes: Iterable[int]) -> str:
        """Pick lanes of two vectors of ``count`` elements; lanes of the second one count on from ``count``."""
        picked = list(lanes)
        kind = f"<{count} x {element}>"
        return self.value(f"shufflevector {kind} {left}, {kind} {right}, <{len(picked)} x i32> {vector('i32', picked)}")

    # ---- loops

    def loop(
        self,
        stop: int | str,
        body: Callable[[str, Sequence[str]], Sequence[str]],
        carried: Sequence[str] = (),
        *,
        start: int | str = 0,
        step: int = 1,
    ) -> list[str]:
        """Run ``body(index, values)`` from ``start`` up to ``stop``, at least once; return the values of the last turn.

        ``carried`` are vectors that each turn hands to the next. The body runs before the bound is looked at.
        """
        name = self.label()
        self.line(f"  br label %enter{name}\nenter{name}:\n  br label %body{name}\nbody{name}:")
        phis_at = len(self._lines)
        self.line("")
        values = [f"%c{name}.{n}" for n in range(len(carried))]
        following = body(f"%i{name}", values)
        self.line(f"  br label %next{name}\nnext{name}:\n  %n{name} = add i64 %i{name}, {step}")
        self.line(f"  %more{name} = icmp ult i64 %n{name}, {stop}")
        self.line(f"  br i1 %more{name}, label %body{name}, label %done{name}, !llvm.loop !0\ndone{name}:")
        edges = [(f"%i{name}", "i64", str(start), f"%n{name}")]
        edges += [(value, self.T, old, new) for value, old, new in zip(values, carried, following, strict=True)]
        self._lines[phis_at] = "\n".join(
            f"  {value} = phi {kind} [ {old}, %enter{name} ], [ {new}, %next{name} ]" for value, kind, old, new in edges
        )
        return list(following)


def vector(kind: str, values: Iterable[int]) -> str:
    """Return a constant vector of this element type, without the vector's own type before it."""
    return "<" + ", ".join(f"{kind} {value}" for value in values) + ">"
