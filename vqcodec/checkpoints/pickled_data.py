"""Pickles read as data. Nothing that a pickle names is imported, called or made.

The opcodes are those of `pickletools`, which takes them apart; a stack machine puts together dicts, lists, tuples,
texts and numbers. A global becomes a `Name`. What a call of one gives is decided by `reduce`, which the reader of the
file format brings along; all that it does not know and that is on no list of harmless names is refused by name.

Lists, because a checkpoint of a trainer holds objects of the trainer beside its tensors (callbacks, configurations, an
argparse.Namespace): these become `Inert`, which hold what they were given and do nothing.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, Final

from vqcodec.checkpoints.errors import ForeignCheckpointError


@dataclass(frozen=True)
class Name:
    """A global that a pickle names: nothing but its two names."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


class Inert:
    """An object of a class that is not made: its name, what it was called with, its state and its items."""

    def __init__(self, name: Name, arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.items: list[Any] = []


#: a call that the file asks for, to what it gives; NotImplemented where the name is not known
Reduce = Callable[[Name, tuple[Any, ...]], Any]
#: what stands in the place of a persistent id
Persistent = Callable[[Any], Any]

#: modules all of whose names are harmless: trainers, their configurations and the classes of the projects themselves
_INERT_PACKAGES: Final = frozenset(
    [
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "lightning_utilities",
        "omegaconf",
        "torchmetrics",
        "accelerate",
        "deepspeed",
        "transformers",
        "diffusers",
        "easydict",
        "yacs",
        "taming",
        "ldm",
        "main",
        "muse",
        "rqvae",
        "tokenizer",
        "src",
        "__main__",
    ]
)
#: other names that are harmless, by module
_INERT_NAMES: Final = {
    module: frozenset(names.split())
    for module, names in {
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "typing": "Any",
        "collections": "OrderedDict defaultdict Counter deque",
        "datetime": "datetime date time timedelta timezone",
        "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
        "numpy": "ndarray dtype",
        "_codecs": "encode",
        "torch": "Size device dtype Generator float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 bool "
        "strided contiguous_format channels_last preserve_format",
        **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct scalar"),
        **dict.fromkeys(
            ("builtins", "__builtin__"),
            "dict list set frozenset tuple int long float complex bool str unicode bytes bytearray object slice range "
            "NoneType",
        ),
        **dict.fromkeys(("copyreg", "copy_reg"), "_reconstructor"),
    }.items()
}
_INERT_BEGINNINGS: Final = ("torch.optim.", "torch.nn.", "torch.utils.data.")
#: opcodes whose argument is the value
_VALUES: Final = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: Final[dict[str, Callable[[], Any]]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
#: what a damaged pickle makes the machine or `pickletools` raise
_DAMAGED: Final = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError),
    *(OverflowError, EOFError, MemoryError, RecursionError),
)
#: no pickle of a checkpoint has nearly so many opcodes
_MOST_OPCODES: Final = 50_000_000
#: nor keys of tuples in tuples, nor of so many parts, which count as often as they are hashed
_MOST_NESTED: Final = 20
_MOST_PARTS: Final = 1000


def read_pickle(source: IO[bytes] | bytes, reduce: Reduce, persistent: Persistent, file: str) -> Any:
    """The content of one pickle; a stream stands behind it afterwards. file: for errors.

    Raises ForeignCheckpointError for names that are not harmless, which it names, and for damaged pickles.
    """
    try:
        return _Machine(reduce, persistent, file).run(source)
    except ForeignCheckpointError:
        raise
    except _DAMAGED as error:
        raise ForeignCheckpointError(f"{file}: damaged or no checkpoint ({' '.join(str(error).split())})") from error


class _Machine:
    """Runs the opcodes; `marks` are the heights of the stack at each MARK."""

    def __init__(self, reduce: Reduce, persistent: Persistent, file: str) -> None:
        self._reduce, self._persistent, self._file = reduce, persistent, file
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: IO[bytes] | bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(source)):
            if count > _MOST_OPCODES:
                raise ValueError("endless pickle")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("no end of the pickle")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(self._last(_TUPLES[name]))]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name not in ("PROTO", "FRAME"):
            step = _STEPS.get(name)
            if step is None:
                raise ForeignCheckpointError(f"{self._file}: refused: the pickle has an opcode {name}")
            step(self, argument)

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("the stack is too short")
        return self._stack[-count:]

    def _since_mark(self) -> list[Any]:
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _pop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _frozenset(self, _: Any) -> None:
        values = self._since_mark()
        check_keys(values)
        self._stack.append(frozenset(values))

    def _dict(self, _: Any) -> None:
        values = self._since_mark()
        check_keys(values[::2])
        self._stack.append(dict(zip(values[::2], values[1::2], strict=True)))

    def _append(self, _: Any) -> None:
        value = self._stack.pop()
        _extend(self._stack[-1], [value])

    def _appends(self, _: Any) -> None:
        values = self._since_mark()
        _extend(self._stack[-1], values)

    def _set_item(self, _: Any) -> None:
        key, value = self._last(2)
        del self._stack[-2:]
        _set(self._stack[-1], [key, value])

    def _set_items(self, _: Any) -> None:
        values = self._since_mark()
        _set(self._stack[-1], values)

    def _global(self, argument: str) -> None:
        module, attribute = argument.split(" ", 1)
        self._stack.append(self._checked(Name(module, attribute)))

    def _stack_global(self, _: Any) -> None:
        module, attribute = self._last(2)
        del self._stack[-2:]
        self._stack.append(self._checked(Name(str(module), str(attribute))))

    def _checked(self, name: Name) -> Name:
        """Raises ForeignCheckpointError for a name that is neither known to the reader nor harmless."""
        if self._reduce(name, ()) is NotImplemented and not _is_inert(name):
            raise ForeignCheckpointError(
                f"{self._file}: refused: it asks for {name}, which no weights need; get the file from elsewhere"
            )
        return name

    def _call(self, _: Any) -> None:
        function, arguments = self._last(2)
        del self._stack[-2:]
        self._stack.append(self._result(function, arguments))

    def _call_with_names(self, _: Any) -> None:
        function, arguments, _names = self._last(3)
        del self._stack[-3:]
        self._stack.append(self._result(function, arguments))

    def _result(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no name")
        made = self._reduce(function, arguments) if arguments or function == _ORDERED_DICT else NotImplemented
        return Inert(function, arguments) if made is NotImplemented else made

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], Inert):
            self._stack[-1].state = state

    def _persistent_id(self, _: Any) -> None:
        self._stack.append(self._persistent(self._stack.pop()))


#: what may be called with nothing
_ORDERED_DICT: Final = Name("collections", "OrderedDict")
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "DUP": _Machine._duplicate,
    "TUPLE": _Machine._tuple,
    "LIST": _Machine._list,
    "DICT": _Machine._dict,
    "FROZENSET": _Machine._frozenset,
    "ADDITEMS": _Machine._appends,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "NEWOBJ_EX": _Machine._call_with_names,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent_id,
}


def _is_inert(name: Name) -> bool:
    """Whether a name may stand for an object that is not made."""
    module = name.module
    return (
        module.split(".")[0] in _INERT_PACKAGES
        or f"{module}.".startswith(_INERT_BEGINNINGS)
        or name.attribute in _INERT_NAMES.get(module, ())
    )


def check_keys(keys: Iterable[Any]) -> None:
    """Raises ValueError for keys whose hash, in C, would overflow the stack, being nested too deep, or take for ever,
    as one tuple may stand in many places."""
    for key in keys:
        parts, depth, count = [key], 0, 0
        while nested := [part for part in parts if isinstance(part, tuple | frozenset)]:
            depth, count = depth + 1, count + sum(map(len, nested))
            if depth > _MOST_NESTED:
                raise ValueError(f"a key of tuples nested more than {_MOST_NESTED} deep")
            if count > _MOST_PARTS:
                raise ValueError(f"a key of more than {_MOST_PARTS} parts")
            parts = [part for each in nested for part in each]


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, Inert):
        target.items.extend(values)
    elif isinstance(target, set):
        check_keys(values)
        target.update(values)
    elif isinstance(target, list):
        target.extend(values)
    else:
        raise ValueError("items for what is no list")


def _set(target: Any, values: list[Any]) -> None:
    pairs = list(zip(values[::2], values[1::2], strict=True))
    if isinstance(target, Inert):
        target.items.extend(pairs)
    elif isinstance(target, dict):
        check_keys(values[::2])
        target.update(pairs)
    else:
        raise ValueError("entries for what is no dict")
