"""One shard: a pure function of the plan and its number, whose result is committed as one file of one name.

rows = (planned - failed) x crops, checked before the commit. Only pictures whose bytes were read whole and do not
decode go to errors/; everything else that goes wrong is an exception, and the shard stays to do.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vqcodec.dataset.columns import TokenRows, error_file, token_file, token_table
from vqcodec.dataset.crops import Crop, crops_of, least_side
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import Files
from vqcodec.dataset.plan import ShardRows, TokenPlan, model_of
from vqcodec.dataset.reading import pictures
from vqcodec.dataset.spec import TokenSpec
from vqcodec.dataset.tokenizer import Tokenizer
from vqcodec.pictures.image import ImageError, TooManyPixelsError, load_image

TOKENS: Final = "tokens"
ERRORS: Final = "errors"
#: what takes time
STAGES: Final = ("read", "decode", "encode", "write")
#: how messages of `load_image` begin, after the name -> the kind of the failure
_KINDS: Final = {
    "is empty": "empty",
    "not a picture": "no picture",
    "the picture is damaged": "damaged",
}
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard. failed: pictures by kind of failure. seconds: by stage. bytes: of its file of tokens."""

    shard: int
    pictures: int
    rows: int
    failed: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: int = 0


#: told what was done meanwhile: pictures done, pictures failed, stage and seconds
Note = Callable[[int, int, str, float], None]


def shard_name(shard: int) -> str:
    """Of its files, in tokens/ and errors/."""
    return f"shard-{shard:06}.parquet"


def make_tokenizer(plan: TokenPlan, device: str = "auto") -> Tokenizer:
    """For this plan's shards, in this process. Raises DatasetError where it cannot compute as the plan says."""
    return Tokenizer(model_of(plan), plan.levels, plan.profile, size=plan.spec.size, device=device)


def tokenize_shard(plan: TokenPlan, shard: int, tokenizer: Tokenizer, note: Note | None = None) -> ShardResult:
    """Make and commit one shard, also over one that is there. Raises StorageError or DatasetError: it stays to do."""
    work = _Work(plan.spec, plan.shard_rows(shard), tokenizer, note or (lambda *_: None))
    work.run()
    rows, failures = work.tokens, work.failures
    planned = len(work.planned.keys)
    if (
        planned != plan.pictures_of(shard)
        or len(rows.shapes) != (planned - len(failures)) * plan.spec.crops_per_picture
    ):
        raise DatasetError(
            f"{plan.store.url}: shard {shard} has {len(rows.shapes)} rows and {len(failures)} failures of {planned} "
            f"pictures, planned were {plan.pictures_of(shard)}: nothing was written; please report this"
        )
    started = time.perf_counter()
    labels = work.planned.labels if plan.spec.labels else None
    keys, names = work.planned.keys, work.planned.names
    table = token_table(rows, keys, names, labels, work.planned.kept, plan.tokens_a_row)
    content = token_file(table, planned, len(failures), tokenizer.codebook_sizes)
    errors = f"{ERRORS}/{shard_name(shard)}"
    # A shard counts when its tokens are there: what failed is written before. Of one that is made again, errors that
    # no longer are go last, so that a kill between leaves a shard that is made again once more.
    if failures:
        plan.store.write(errors, error_file(keys, names, failures))
    plan.store.write(f"{TOKENS}/{shard_name(shard)}", content)
    if not failures:
        plan.store.delete(errors)
    work.seconds["write"] = time.perf_counter() - started
    work.note(0, 0, "write", work.seconds["write"])
    kinds = Counter(kind for _, kind, _ in failures)
    return ShardResult(shard, planned, len(rows.shapes), dict(kinds), dict(work.seconds), len(content))


def decoded(content: bytes | None, key: str, spec: TokenSpec) -> tuple[tuple[int, int], list[Crop]]:
    """(height, width) of an encoded picture and its crops. Raises ImageError, whose message begins with the key."""
    if content is None:
        raise ImageError(f"{key}: the row has no bytes of a picture")
    try:
        loaded = load_image(
            content, alpha="drop", max_pixels=spec.max_pixels, look_for_damage=False, least_side=least_side(spec)
        )
    except ImageError as error:
        message = str(error).removeprefix("image data: ")
        raise type(error)(_ADDRESS.sub("", f"{key}: {message}")) from error
    size = loaded.full_size or (loaded.height, loaded.width)
    return size, crops_of(loaded.rgb, spec, key, size)


def failure_kind(error: ImageError, key: str) -> str:
    """In a word or two, to count by."""
    if isinstance(error, TooManyPixelsError):
        return "too many pixels"
    message = str(error).removeprefix(f"{key}: ")
    return next((kind for start, kind in _KINDS.items() if message.startswith(start)), "cannot be converted")


class _Work:
    """The pictures of a shard on their way: read, decoded, tokenized."""

    def __init__(self, spec: TokenSpec, planned: ShardRows, tokenizer: Tokenizer, note: Note) -> None:
        self.spec, self.planned, self.tokenizer, self.note = spec, planned, tokenizer, note
        self.tokens = TokenRows(tokenizer.codebook_sizes)
        self.failures: list[tuple[int, str, str]] = []
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._waiting: list[Any] = []

    def run(self) -> None:
        contents = pictures(Files(), self.planned.rows, self.spec.image)
        number, before = 0, time.perf_counter()
        for number, content in enumerate(contents, start=1):
            self._spent("read", before)
            self._take(number - 1, content)
            before = time.perf_counter()
        if number != len(self.planned.rows):
            raise DatasetError(f"{number} of {len(self.planned.rows)} pictures were read")
        self._tokenize()

    def _take(self, number: int, content: bytes | None) -> None:
        key, before = self.planned.keys[number], time.perf_counter()
        try:
            size, crops = decoded(content, key, self.spec)
        except ImageError as error:
            self.failures.append((number, failure_kind(error, key), str(error)))
            self._spent("decode", before, done=1, failed=1)
            return
        assert content is not None
        digest = hashlib.sha256(content).digest()
        for place, crop in enumerate(crops):
            self.tokens.add(number, digest, size, place, crop)
            self._waiting.append(crop.pixels)
        self._spent("decode", before, done=1)
        if len(self._waiting) >= self.tokenizer.batch:
            self._tokenize()

    def _tokenize(self) -> None:
        if not self._waiting:
            return
        before = time.perf_counter()
        grids: Sequence[Any]
        for grids in self.tokenizer.tokens(self._waiting):
            self.tokens.add_tokens(grids)
        self._waiting = []
        self._spent("encode", before)

    def _spent(self, stage: str, since: float, done: int = 0, failed: int = 0) -> None:
        seconds = time.perf_counter() - since
        self.seconds[stage] += seconds
        self.note(done, failed, stage, seconds)
