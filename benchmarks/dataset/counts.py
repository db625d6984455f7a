"""1,000 pictures, 37 of them unreadable and 20 odd: exact counts, a second run that does nothing, and 300 more."""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from vqcodec.benchmarks.dataset.making import crops, digests, make_pictures, run, tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(options.photos, Path(folder))


def show(source: str, folder: Path) -> None:
    """Print what became of the pictures."""
    pictures, out = folder / "pictures", folder / "out"
    make_pictures(source, pictures / "good", 943)
    damage(source, pictures / "bad", 37)
    odd(source, pictures / "odd", 20)
    words = ("tokenize", pictures, "-o", out, "--shard-size", 100, "--max-failures", "5%", "--json")
    done, seconds = run(*words)
    shards = [json.loads(line) for line in done.stdout.splitlines()]
    kinds: dict[str, int] = {}
    for shard in shards[:-1]:
        for kind, count in shard["failed"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    rows = sum(shard["rows"] for shard in shards[:-1])
    tell(what="first run", exit=done.returncode, seconds=round(seconds, 1), rows=rows, failed=kinds, end=shards[-1])
    failed = [json.loads(line)["key"] for line in run("tokens", "errors", out, "--json")[0].stdout.splitlines()]
    tell(what="failed", pictures=len(failed), all_bad=all(key.startswith("bad/") for key in failed))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")}
    done, seconds = run(*words)
    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")}
    tell(what="second run", exit=done.returncode, seconds=round(seconds, 2), unchanged=before == after)
    done, seconds = run("tokens", "verify", out, "--sample", 200, "--json")
    tell(what="verify", exit=done.returncode, seconds=round(seconds, 1), **json.loads(done.stdout))
    more = make_pictures(source, folder / "more", 300, side=200)
    for path in list(more.rglob("*.jpg")):
        path.rename(path.with_name(f"more-{path.name}"))
    files = digests(out, "tokens", "errors", "plan")
    done, _ = run("tokenize", more, "-o", out, "--shard-size", 100, "--max-failures", "5%", "--json", "--append")
    now = digests(out, "tokens", "errors", "plan")
    end = json.loads(done.stdout.splitlines()[-1])
    tell(
        what="300 more", exit=done.returncode, end=end, others_unchanged=all(now[name] == files[name] for name in files)
    )
    for changes in (("--levels", 2), ("--crops", "ten"), ("--size", 128)):
        done, _ = run("tokenize", pictures, "-o", out, "--shard-size", 100, *changes)
        tell(what="refused", exit=done.returncode, said=done.stderr.strip().replace(str(folder), ""))
    done, _ = run("tokenize", more / "0000", "-o", out, "--shard-size", 100, "--append")
    done, _ = run("tokenize", pictures, "-o", out, "--shard-size", 100, "--append")
    tell(what="twice the same key", exit=done.returncode, said=done.stderr.strip().replace(str(folder), ""))


def damage(source: str, folder: Path, count: int) -> None:
    """Pictures that cannot be read: cut, empty, text, and more pixels than are allowed."""
    folder.mkdir(parents=True)
    for number, crop in enumerate(crops(source, 256, count)):
        content = io.BytesIO()
        crop.save(content, "JPEG", quality=90)
        whole = content.getvalue()
        kinds = (whole[: len(whole) // 2], b"", b"<html>404</html>", bomb())
        (folder / f"{number:03}.{'png' if number % 4 == 3 else 'jpg'}").write_bytes(kinds[number % 4])


def bomb(side: int = 20_000) -> bytes:
    """A PNG of 400 megapixels in some hundred bytes of header and compressed nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def odd(source: str, folder: Path, count: int) -> None:
    """Pictures that can be read, of odd kinds: CMYK, 16 bits, palettes, one pixel, alpha."""
    folder.mkdir(parents=True)
    for number, crop in enumerate(crops(source, 200, count)):
        deep = Image.fromarray(np.asarray(crop.convert("L")).astype(np.uint16) * 257)
        kinds = (
            (crop.convert("CMYK"), "jpg"),
            (deep, "png"),
            (crop.convert("P"), "png"),
            (crop.resize((1, 1)), "png"),
            (crop.convert("RGBA"), "webp"),
        )
        image, suffix = kinds[number % 5]
        image.save(folder / f"{number:03}.{suffix}")


if __name__ == "__main__":
    main()
