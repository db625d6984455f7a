"""The plan of a dataset: all pictures in one order, cut into numbered shards; written once, and never changed."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vqcodec import __version__
from vqcodec.cards.finding import find_model
from vqcodec.cards.model_card import ModelFolder
from vqcodec.dataset.duplicates import KeyHashes, duplicates
from vqcodec.dataset.errors import DatasetError, PlanMismatch, StorageError
from vqcodec.dataset.files import Files
from vqcodec.dataset.packages import pa
from vqcodec.dataset.plan_files import KEPT, Generation, RowReader, RowWriter
from vqcodec.dataset.reading import Row
from vqcodec.dataset.sources import canonical, entries
from vqcodec.dataset.spec import TokenSpec, differences
from vqcodec.dataset.store import Store, is_url, open_store
from vqcodec.dataset.tokenizer import check_crops, numeric_profile
from vqcodec.pictures.names import described

DATASET_FILE: Final = "dataset.json"
_FORMAT: Final = 1
#: columns that rows of tokens have anyway
_BOX: Final = ("width", "height", "crop", "crop_left", "crop_top", "crop_width", "crop_height", "flip", "rows", "cols")
_OWN: Final = frozenset(("key", "source", "sha256", "label", *_BOX))
_MOST_CLASSES: Final = 1_000_000


@dataclass(frozen=True)
class ShardRows:
    """The pictures of one shard: key, name for people, where it lies, label and kept columns of each."""

    keys: list[str]
    names: list[str]
    rows: list[Row]
    labels: list[int | None]
    kept: dict[str, Any]


class TokenPlan:
    """A dataset that is planned: what there is to do, and how. Make one with `make` or `open`.

    spec: with the levels counted. model: what is said of it in dataset.json. profile: see
    `vqcodec.dataset.tokenizer.numeric_profile`. passed_over: how many files that look like pictures `make` found in the
    sources it listed and left out, by suffix or by reason.
    """

    def __init__(self, store: Store, about: dict[str, Any]) -> None:
        self.store, self.about = store, about
        self.spec = TokenSpec.from_dict(about["spec"])
        self.model: dict[str, Any] = about["model"]
        self.profile: dict[str, Any] = about["profile"]
        self.generations = Generation.read_all(store)
        self._reader = RowReader(store)
        self.passed_over: Counter[str] = Counter()

    @staticmethod
    def make(
        sources: Sequence[str | Path],
        out: str | Path,
        spec: TokenSpec | None = None,
        *,
        device: str = "auto",
        append: bool = False,
    ) -> TokenPlan:
        """The plan that is there, or a new one: the sources are listed once.

        append: more sources, after those that are there. Raises PlanMismatch for a folder that was planned with other
        sources, settings, model or arithmetic, DatasetError, StorageError or ModelError.
        """
        spec, roots, store = spec or TokenSpec(), tuple(map(canonical, sources)), open_store(out)
        _check(spec, roots, str(out))
        model = find_model(spec.model)
        planned = store.exists(DATASET_FILE) and bool(Generation.read_all(store))
        if planned and device == "auto" and TokenPlan.open(out).profile["arithmetic"] == "native":
            device = "cpu"  # what was begun on the core goes on there
        about = _about(spec, model, device)
        if not planned:
            if append:
                raise DatasetError(f"{out}: no dataset to append to; leave --append out")
            store.write(DATASET_FILE, (json.dumps(about, indent=1) + "\n").encode())
            plan = TokenPlan(store, about)
            plan._list(roots)
            return plan
        plan = TokenPlan.open(out)
        plan._check_same(about)
        known = [generation.sources for generation in plan.generations]
        if append and roots != known[-1]:
            plan._list(roots)
        elif not append and roots not in known:
            raise PlanMismatch(
                f"{out}: was planned for other sources ({', '.join(known[0])}); add these with --append, or take "
                "another folder"
            )
        return plan

    @staticmethod
    def open(out: str | Path) -> TokenPlan:
        """The plan that is there. Raises DatasetError where there is none."""
        store = open_store(out)
        if not store.exists(DATASET_FILE):
            raise DatasetError(f"{out}: no dataset of tokens; make one with `vqcodec tokenize SOURCE -o {out}`")
        try:
            about = json.loads(store.read(DATASET_FILE))
            if about["format"] != _FORMAT:
                raise DatasetError(f"{out}/{DATASET_FILE}: format {about['format']}, this vqcodec reads {_FORMAT}")
            plan = TokenPlan(store, about)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"{out}/{DATASET_FILE}: is damaged ({error}); take another folder") from error
        if not plan.generations:
            raise DatasetError(f"{out}: its plan is not complete; run `vqcodec tokenize` on the sources again")
        return plan

    @property
    def shards(self) -> int:
        """How many there are."""
        return sum(generation.shards for generation in self.generations)

    @property
    def pictures(self) -> int:
        """How many are planned."""
        return sum(generation.pictures for generation in self.generations)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty without labels."""
        return self.generations[-1].classes

    @property
    def levels(self) -> int:
        """Of each picture."""
        assert self.spec.levels is not None
        return self.spec.levels

    @property
    def tokens_a_row(self) -> list[int] | None:
        """In each level; None for pictures in their native size."""
        side = self.spec.size
        return None if side is None else [(-(-side // factor)) ** 2 for factor in self.model["level_factors"]]

    def pictures_of(self, shard: int) -> int:
        """How many pictures are planned for a shard."""
        generation, inner = self._find(shard)
        size = self.spec.shard_size
        return min(size, generation.pictures - inner * size)

    def shard_rows(self, shard: int) -> ShardRows:
        """The pictures of a shard. Raises DatasetError or StorageError."""
        generation, inner = self._find(shard)
        table = self._reader.rows(generation, inner)
        columns = {name: table.column(name).to_pylist() for name in table.column_names if not name.startswith(KEPT)}
        places = [
            Row(generation.sources[root], path, kind, offset, length)
            for root, path, kind, offset, length in zip(
                *(columns[name] for name in ("root", "path", "kind", "offset", "length")), strict=True
            )
        ]
        starts = [source.rsplit("/", 1)[-1] for source in generation.sources]
        names = [
            f"{path if path == starts[root] or is_url(path) else f'{starts[root]}/{path}'}"
            f"{'#' + member if member else f'#{offset}' if kind in ('parquet', 'arrow') else ''}"
            for root, path, kind, member, offset in zip(
                *(columns[name] for name in ("root", "path", "kind", "member", "offset")), strict=True
            )
        ]
        numbers = {name: number for number, name in enumerate(generation.classes)}
        labels = [None if label is None else numbers[label] for label in columns["label"]]
        kept = {
            name.removeprefix(KEPT): table.column(name).combine_chunks()
            for name in table.column_names
            if name.startswith(KEPT)
        }
        return ShardRows(columns["key"], names, places, labels, kept)

    def _find(self, shard: int) -> tuple[Generation, int]:
        for generation in self.generations:
            if 0 <= shard - generation.first_shard < generation.shards:
                return generation, shard - generation.first_shard
        raise DatasetError(f"{self.store.url}: shard {shard} of {self.shards}")

    def _check_same(self, about: dict[str, Any]) -> None:
        for what in ("model", "spec", "profile"):
            before, now = dict(self.about[what]), dict(about[what])
            if what == "spec":
                before = self.spec.to_dict()  # with the fields that versions before did not have
                before.pop("model"), now.pop("model")  # by whatever name: its fingerprint counts
            if what == "model":
                before, now = ({"model": f"{m['name']} ({m['fingerprint'][:8]})"} for m in (before, now))
            if found := differences(before, now):
                raise PlanMismatch(
                    f"{self.store.url}: was made with {'; '.join(found)}; give the same, or take another folder"
                )

    def _list(self, roots: tuple[str, ...]) -> None:
        """List sources as one more generation."""
        number, last = len(self.generations), self.generations[-1] if self.generations else None
        writer = RowWriter(
            self.store,
            number,
            self.spec.shard_size,
            self.spec.keep,
            self._reader.kept_types(self.generations[0]) if last else {},
        )
        hashes, classes = KeyHashes(), _Classes(last)
        for generation in self.generations:
            for keys in self._reader.keys(generation):
                hashes.add(keys)
        files = Files()
        try:
            for root, source in enumerate(roots):
                before = writer.pictures
                for entry in entries(source, self.spec, files):
                    classes.add(entry.label, entry.key)
                    hashes.add((entry.key,))
                    writer.add(root, entry)
                if writer.pictures == before:
                    told = described(files.passed_over)
                    raise DatasetError(
                        f"{source}: holds no pictures, archives or tables of pictures" + (f"; {told}" if told else "")
                    )
            writer.close()
            first = last.first_shard + last.shards if last else 0
            made = Generation(
                number, roots, writer.pictures, first, writer.shards, tuple(writer.parts), *classes.numbered()
            )
            if found := duplicates(hashes, self._all_keys((*self.generations, made))):
                raise DatasetError(
                    f"{', '.join(roots)}: two pictures have the key {found[0]}"
                    f"{' (also ' + ', '.join(found[1:]) + ')' if found[1:] else ''}; choose another one with --key, or "
                    "`--key path` for archives"
                )
        except StorageError:
            raise  # as after an interruption the files stay: another job may plan the same right now
        except DatasetError:
            writer.delete(kept=_parts(self.store))
            raise
        counts = made.write(self.store)
        if counts != made:
            writer.delete(kept=_parts(self.store))
        if counts.sources != roots:
            raise PlanMismatch(f"{self.store.url}: was planned for {', '.join(counts.sources)} meanwhile; run it again")
        TokenPlan.open(self.store.url)._check_same(self.about)  # another job may have written it, with other settings
        self.generations.append(counts)
        self.passed_over = files.passed_over

    def _all_keys(self, generations: Sequence[Generation]) -> Iterator[list[str]]:
        for generation in generations:
            yield from self._reader.keys(generation)


def _parts(store: Store) -> set[tuple[str, str]]:
    """Those of all listings that count."""
    return {part for generation in Generation.read_all(store) for part in generation.parts}


class _Classes:
    """The classes of a plan: names, sorted and numbered from 0, or numbers as they are. Those of `last` stay."""

    def __init__(self, last: Generation | None) -> None:
        self._known = last.classes if last else ()
        self._kind = last.labels if last else ""
        self._names: set[str] = set()
        self._highest = -1

    def add(self, label: Any, key: str) -> None:
        """Raises DatasetError."""
        if label is None:
            return
        kind = "numbers" if type(label) is int else "names" if isinstance(label, str) else ""
        if not kind or (self._kind and kind != self._kind):
            raise DatasetError(
                f"{key}: the label is {label!r}, {'those before are ' + self._kind if kind else 'no name or number'}"
            )
        self._kind = kind
        if isinstance(label, int):
            if not 0 <= label < _MOST_CLASSES:
                raise DatasetError(f"{key}: label {label} lies outside 0..{_MOST_CLASSES - 1}")
            self._highest = max(self._highest, label)
        else:
            self._names.add(label)
            if len(self._names) > _MOST_CLASSES:
                raise DatasetError(f"{key}: more than {_MOST_CLASSES} classes; choose another --labels, or --keep")

    def numbered(self) -> tuple[str, tuple[str, ...]]:
        """What labels are, and the names of all classes."""
        if self._kind == "numbers":
            return self._kind, tuple(map(str, range(max(self._highest + 1, len(self._known)))))
        return self._kind, (*self._known, *sorted(self._names.difference(self._known)))


def _check(spec: TokenSpec, roots: tuple[str, ...], out: str) -> None:
    if not roots:
        raise DatasetError("no sources")
    for name in spec.keep:
        if name in _OWN or name.startswith("level_"):
            raise DatasetError(f"--keep {name}: tokens have a column of this name themselves; rename it in the source")
    for root in roots:
        if f"{canonical(out)}/".startswith(f"{root}/"):
            raise DatasetError(f"{out}: lies in {root}, which is read from; choose another folder")


def _about(spec: TokenSpec, model: ModelFolder, device: str) -> dict[str, Any]:
    card = model.card
    shape = card.autoencoder
    if shape.label_map:
        raise DatasetError(f"model {card.name} is of {shape.label_map}, not of pictures; use another --model")
    check_crops(card, spec.size)
    levels = spec.levels or shape.levels
    if not 1 <= levels <= shape.levels:
        raise DatasetError(f"levels {levels}: model {card.name} has 1 to {shape.levels}")
    facts = {
        "name": card.name,
        "model_id": card.model_id.hex(),
        "fingerprint": card.fingerprint,
        "folder": str(model.path),
        "codebook_sizes": list(shape.quantizer.codebook_sizes[:levels]),
        "level_factors": list(shape.level_factors[:levels]),
    }
    return {
        "format": _FORMAT,
        "spec": replace(spec, levels=levels).to_dict(),
        "model": facts,
        "profile": numeric_profile(model, device, fast=spec.fast),
        "versions": {"vqcodec": __version__, "pyarrow": pa.__version__, "python": platform.python_version()},
    }


def model_of(plan: TokenPlan) -> ModelFolder:
    """The model of a plan, where it lay or by its id. Raises ModelError, or DatasetError for another one there."""
    folder = Path(plan.model["folder"])
    model = find_model(folder if folder.is_dir() else plan.model["model_id"])
    if model.card.fingerprint != plan.model["fingerprint"]:
        raise DatasetError(f"{model.path}: is not the model {plan.model['name']} that {plan.store.url} was made with")
    return model
