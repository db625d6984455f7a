"""Cards and the files that they name: one way to read them, and one set of errors. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vqcodec.cards.errors import ModelError
from vqcodec.cards.field_types import check_field_types

Card = TypeVar("Card")


@dataclass(frozen=True)
class CardFile:
    """A JSON file that says what a folder holds. name: of the file. kind: of the folder, for errors.

    schema_version: of the fields; a card of another is refused.
    """

    name: str
    kind: str
    schema_version: int

    def read(self, folder: Path, from_json: Callable[[dict[str, Any]], Card]) -> Card:
        """What `from_json` makes of the card's fields. Raises ModelError.

        from_json: raises ArithmeticError, AttributeError, KeyError, TypeError or ValueError for fields that are not
        what they should be, ModelError for more than that.
        """
        path = folder / self.name
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ModelError(f"{folder}: not a {self.kind} folder, it has no {self.name}") from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error})") from error
        except RecursionError as error:
            raise ModelError(f"{path}: not a valid {self.kind} card (brackets within brackets)") from error
        try:
            version = fields["schema_version"]
            if version != self.schema_version:
                raise ValueError(f"schema version {version}, this vqcodec reads {self.schema_version}")
            card = from_json(fields)
            check_field_types(card)
            return card
        except ModelError:
            raise
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: not a valid {self.kind} card ({error})") from error


def read_named_file(path: Path, sha256: str, content: str, owner: str) -> bytes:
    """The bytes of a file whose sha256, hexadecimal, a card names. Raises ModelError for a missing or another file.

    content: such as "weights". owner: whose card it is, such as "model photo-5". Both are for errors.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the {content} cannot be read ({error.strerror})") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ModelError(f"{path}: not the {content} that {owner}'s card names; get it again")
    return raw
