"""Tokens for tables of pictures that somebody else reads, such as `ray.data.Dataset.map_batches`."""

from __future__ import annotations

import hashlib
from typing import Any

from vqcodec.cards.finding import find_model
from vqcodec.dataset.columns import TokenRows, token_table
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.packages import pa
from vqcodec.dataset.shard import decoded
from vqcodec.dataset.spec import TokenSpec
from vqcodec.dataset.tables import image_column
from vqcodec.dataset.tokenizer import Tokenizer, check_crops, numeric_profile
from vqcodec.pictures.image import ImageError


class TokenizeBatch:
    """A table of encoded pictures to the same rows with columns of tokens: level_1..L, boxes, and `error`.

    `ds.map_batches(TokenizeBatch, batch_format="pyarrow", concurrency=4)`. A picture that does not decode has null
    tokens and says why in `error`: no row is lost. spec: of the tokens; its `image` names the column of pictures, bytes
    or the struct {bytes, path}. One crop a picture. Raises DatasetError, ModelError.
    """

    def __init__(self, spec: TokenSpec | None = None, device: str = "auto") -> None:
        self.spec = spec or TokenSpec()
        if self.spec.crops_per_picture != 1:
            raise DatasetError(f"crops {self.spec.crops!r} of a batch: rows stay rows; take center or random:1")
        model = find_model(self.spec.model)
        check_crops(model.card, self.spec.size)
        levels = self.spec.levels or model.card.autoencoder.levels
        profile = numeric_profile(model, device, fast=self.spec.fast)
        self._tokenizer = Tokenizer(model, levels, profile, size=self.spec.size, device=device)
        side = self.spec.size
        factors = model.card.autoencoder.level_factors[:levels]
        self._lengths = None if side is None else [(-(-side // factor)) ** 2 for factor in factors]

    def __call__(self, batch: Any) -> Any:
        """A pyarrow.Table to a pyarrow.Table with as many rows."""
        name = image_column(batch.schema, self.spec.image, "the batch")
        rows, crops = TokenRows(self._tokenizer.codebook_sizes), []
        errors: list[str | None] = []
        keys = batch.column(self.spec.key).to_pylist() if self.spec.key else list(map(str, range(len(batch))))
        for number, value in enumerate(batch.column(name).to_pylist()):
            content = value.get("bytes") if isinstance(value, dict) else value
            try:
                size, [crop] = decoded(content, str(keys[number]), self.spec)
            except ImageError as error:
                errors.append(str(error))
                continue
            assert content is not None
            errors.append(None)
            rows.add(number, hashlib.sha256(content).digest(), size, 0, crop)
            crops.append(crop.pixels)
        for start in range(0, len(crops), self._tokenizer.batch):
            for grids in self._tokenizer.tokens(crops[start : start + self._tokenizer.batch]):
                rows.add_tokens(grids)
        made = token_table(rows, list(map(str, keys)), [""] * len(batch), None, {}, self._lengths)
        made = made.drop_columns(["key", "source", "crop"])
        if there := [name for name in (*made.column_names, "error") if name in batch.column_names]:
            raise DatasetError(f"the batch has a column {there[0]} itself: rename or drop it before")
        place = {number: row for row, number in enumerate(rows.pictures)}
        order = pa.array([place.get(number) for number in range(len(batch))], pa.int64())
        for column in made.column_names:
            # lists of fixed size stay lists: taking with nulls is not there for them in all versions of pyarrow
            values = made.column(column).combine_chunks()
            if pa.types.is_fixed_size_list(values.type):
                values = values.cast(pa.list_(values.type.value_type))
            batch = batch.append_column(column, values.take(order))
        return batch.append_column("error", pa.array(errors, pa.string()))
