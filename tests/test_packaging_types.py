"""What tells other programs that a file is a stream: a type for shared-mime-info, and a magic for file(1)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vqcodec.pillow
from vqcodec.bitstream import FORMAT_VERSION, MAGIC

ROOT = Path(__file__).parent.parent
STREAMS = sorted((ROOT / "tests" / "golden" / "v1").glob("*.vq"))
_NAMESPACE = {"m": "http://www.freedesktop.org/standards/shared-mime-info"}


def test_the_type_is_that_of_the_plugin_and_has_the_magic_of_the_format() -> None:
    found = ElementTree.parse(ROOT / "packaging" / "vqcodec.xml").getroot().find("m:mime-type", _NAMESPACE)
    assert found is not None
    assert found.get("type") == vqcodec.pillow.MIME_TYPE
    starts = {each.get("value", "").encode().decode("unicode_escape") for each in found.iter() if each.get("offset")}
    assert {start.encode("latin-1") for start in starts} == {
        MAGIC + bytes([FORMAT_VERSION]),
        MAGIC + bytes([FORMAT_VERSION | 128]),
    }
    assert all(path.read_bytes()[:3].decode("latin-1") in starts for path in STREAMS)


@pytest.mark.skipif(shutil.which("file") is None, reason="file(1) is not installed")
def test_file_tells_streams() -> None:
    command = ["file", "-b", "-m", ROOT / "packaging" / "vqcodec.magic", "--mime-type"]
    done = subprocess.run([*command, *STREAMS, ROOT / "README.md"], capture_output=True, text=True, check=True)
    *streams, readme = done.stdout.split()
    assert set(streams) == {vqcodec.pillow.MIME_TYPE}
    assert readme == "text/plain"
