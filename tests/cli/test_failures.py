"""What goes wrong with one file: one line with name and remedy, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from cli_helpers import make_other_model, make_picture, names_in, only_error, vqcodec
from click.testing import Result

from vqcodec.bitstream import read_header
from vqcodec.cli.common import failures
from vqcodec.cli.common.failures import describe, printable
from vqcodec.codec import Codec

pytestmark = pytest.mark.usefixtures("installed")


def encode(*arguments: object) -> Result:
    return vqcodec("encode", "--model", "tiny", *arguments)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "fetch the whole file again"),
    "a PNG picture": (lambda data: b"\x89PNG\r\n\x1a\n", "not a .vq stream but a PNG picture"),
    "a JPEG picture": (lambda data: b"\xff\xd8\xff\xe0", "not a .vq stream but a JPEG picture"),
    "text": (lambda data: b"hello, world", "not a .vq stream"),
    "version": (lambda data: data[:2] + b"\x07" + data[3:], "install a newer vqcodec"),
    "cut off in the header": (lambda data: data[:9], "fetch the whole file again"),
    "cut off in level 1": (lambda data: data[:16], "fetch the whole file again"),
    "cut off in level 2": (lambda data: data[:-1], "--partial"),
    "corrupt": (lambda data: flip(data, read_header(data).header.size_bytes - 1), "checksum does not match"),
    "trailing": (lambda data: data + b"x", "1 bytes follow the end of the stream"),
    "unknown model": (lambda data: data[:3] + b"\x01\x02\x03\x04" + data[7:], "vqcodec models add"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_stream_is_one_line_with_file_and_remedy(damage: str, stream: Path, tmp_path: Path) -> None:
    change, remedy = DAMAGE[damage]
    stream.write_bytes(change(stream.read_bytes()))
    line = only_error(vqcodec("decode", stream, tmp_path / "a.png"))
    assert line.startswith(f"error: {stream}: ")
    assert remedy in line
    assert line.count(str(stream)) == 1
    assert names_in(tmp_path) == ["photo.vq"]


def test_a_wrong_model_is_named_with_the_right_one(stream: Path, tmp_path: Path, tiny_model: Path) -> None:
    other = make_other_model(tmp_path / "models" / "other", tiny_model)
    line = only_error(vqcodec("decode", stream, tmp_path / "a.png", "--model", other))
    assert line.startswith(f"error: {stream}: the stream was written with model tiny (")
    assert "not with other (" in line


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_picture_over_the_limit_names_the_option(command: str, photo: Path, stream: Path, tmp_path: Path) -> None:
    source, target = {"encode": (photo, "a.vq"), "decode": (stream, "a.png")}[command]
    line = only_error(vqcodec(command, "--model", "tiny", source, tmp_path / target, "--max-pixels", 1583))
    assert line.startswith(f"error: {source}: ")
    assert "--max-pixels 1584" in line
    assert vqcodec(command, "--model", "tiny", source, tmp_path / target, "--max-pixels", 1584).exit_code == 0


@pytest.mark.parametrize("command", ["encode", "decode", "info"])
def test_an_input_that_is_not_there_is_named(command: str, tmp_path: Path) -> None:
    target = {"encode": (tmp_path / "a.vq", "--model", "tiny"), "decode": (tmp_path / "a.png",), "info": ()}[command]
    line = only_error(vqcodec(command, tmp_path / "gone  photo", *target))  # two spaces are kept
    assert line == f"error: {tmp_path / 'gone  photo'}: no such file: check the name"


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xf5V\x01"])
def test_what_is_no_picture_cannot_be_encoded(content: bytes, photo: Path, tmp_path: Path) -> None:
    photo.write_bytes(content)
    assert only_error(encode(photo, tmp_path / "a.vq")).startswith(f"error: {photo}: ")
    assert names_in(tmp_path) == ["photo.png"]


@pytest.mark.parametrize(("command", "content"), [("encode", b"no picture"), ("decode", b"no stream"), ("decode", b"")])
def test_stdin_is_named_too(command: str, content: bytes, tmp_path: Path) -> None:
    target = tmp_path / ("a.vq" if command == "encode" else "a.png")
    line = only_error(vqcodec(command, "-", target, "--model", "tiny", stdin=content))
    assert line.startswith("error: stdin: ")
    assert names_in(tmp_path) == []


def test_a_model_that_is_not_there_is_named_with_those_that_are(photo: Path, stream: Path, tmp_path: Path) -> None:
    for command, target in (("encode", "a.vq"), ("decode", "a.png")):
        source = photo if command == "encode" else stream
        line = only_error(vqcodec(command, source, tmp_path / target, "--model", "nosuch"))
        assert line.startswith("error: nosuch: ")
        assert "tiny" in line


def test_damaged_weights_stop_everything_with_one_line(photo: Path, tmp_path: Path, tiny_model: Path) -> None:
    other = make_other_model(tmp_path / "models" / "other", tiny_model)
    (other / "stage1.safetensors").write_bytes(b"damaged")
    make_picture(tmp_path / "second.png")
    line = only_error(vqcodec("encode", photo, tmp_path / "second.png", "-o", tmp_path / "out", "--model", other))
    assert line.startswith(f"error: {other / 'stage1.safetensors'}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["bogus", "cuda:x", ""])
def test_a_device_that_is_none_is_wrong_usage(device: str, photo: Path, tmp_path: Path) -> None:
    result = encode(photo, tmp_path / "a.vq", "--device", device)
    assert result.exit_code == 2
    assert "'--device'" in result.stderr


def test_a_device_that_is_not_here_is_one_line(photo: Path, stream: Path, tmp_path: Path) -> None:
    device = "cuda" if sys.platform == "darwin" else "mps"
    for result in (
        encode(photo, tmp_path / "a.vq", "--device", device),
        vqcodec("decode", stream, tmp_path / "a.png", "--device", device),
    ):
        assert f"{device}: not available here" in only_error(result)
    same_twice = vqcodec("decode", stream, stream, "-o", tmp_path / "out", "--device", device)
    assert same_twice.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [(), ("a.png",), ("a.png", "b.vq", "c.vq"), ("-o", "out"), ("-", "-o", "out"), ("a.png", "b.jpg"), (".", "b.vq")],
)
def test_wrong_usage_of_encode(arguments: tuple[str, ...]) -> None:
    result = encode(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("Error: ")


# ---- the target ----


def test_nothing_is_overwritten_without_force(photo: Path, tmp_path: Path, tiny_model: Path) -> None:
    target = tmp_path / "a.vq"
    target.write_bytes(b"precious")
    assert only_error(encode(photo, target)) == f"error: {target}: exists already; give -f to overwrite it"
    assert target.read_bytes() == b"precious"
    assert encode(photo, target, "-f").exit_code == 0
    assert target.read_bytes() == Codec.load("tiny").encode(photo)


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, plain = tmp_path / "a.vq", Codec.encode

    def slow(codec: Codec, *arguments: object, **options: object) -> bytes:
        target.write_bytes(b"precious")
        return plain(codec, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Codec, "encode", slow)
    assert "exists already" in only_error(encode(photo, target))
    assert target.read_bytes() == b"precious"
    assert names_in(tmp_path) == ["a.vq", "photo.png"]


def test_the_input_is_never_overwritten(stream: Path, tmp_path: Path) -> None:
    misnamed = stream.rename(tmp_path / "really-a-stream.png")
    before = misnamed.read_bytes()
    (tmp_path / "link.png").symlink_to(misnamed)
    for target in (misnamed, tmp_path / "link.png"):
        line = only_error(vqcodec("decode", misnamed, target, "-f"))
        assert line == f"error: {target}: is the input itself; name another output"
    assert misnamed.read_bytes() == before


@pytest.mark.parametrize("target", ["folder", "folder.png", "new/", "photo.vq/a.png"])
def test_a_target_that_can_be_no_file(target: str, stream: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    path = f"{tmp_path}/{target}"
    line = only_error(vqcodec("decode", stream, path, "--format", "png", "-f"))
    assert line.startswith(f"error: {path}: ")
    assert names_in(tmp_path) == ["photo.vq"]


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_file_is_not_replaced(stream: Path, photo: Path) -> None:
    assert "give - to write to stdout" in only_error(encode(photo, "/dev/null", "-f"))
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    line = only_error(encode(photo, folder / "a.vq"))
    assert line == f"error: {folder / 'a.vq'}: cannot be written (Permission denied)"


def test_a_result_that_does_not_read_back_is_not_left(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.vq"
    target.write_bytes(b"precious")
    monkeypatch.setattr("vqcodec.cli.common.files.fill", lambda path, data: None)
    assert "is the disk full" in only_error(encode(photo, target, "-f"))
    assert target.read_bytes() == b"precious"
    assert names_in(tmp_path) == ["a.vq", "photo.png"]


def test_the_umask_holds_and_a_link_stays_a_link(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "real.vq").write_bytes(b"before")
    (tmp_path / "link.vq").symlink_to(tmp_path / "real.vq")
    before = os.umask(0o027)
    try:
        assert encode(photo, tmp_path / "new" / "a.vq").exit_code == 0
        assert encode(photo, tmp_path / "link.vq", "-f").exit_code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "a.vq").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.vq").is_symlink()
    assert (tmp_path / "real.vq").read_bytes() == (tmp_path / "new" / "a.vq").read_bytes()


@pytest.mark.parametrize("force", [(), ("-f",)])
def test_nothing_is_written_through_a_link_to_nothing(force: tuple[str, ...], photo: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.vq"
    link.symlink_to(tmp_path / "elsewhere")
    assert only_error(encode(photo, link, *force)).startswith(f"error: {link}: is a link that leads to nothing")
    assert names_in(tmp_path) == ["photo.png"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as on Unix")
def test_a_private_file_stays_private(photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.vq"
    target.touch(mode=0o600)
    assert encode(photo, target, "-f").exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size > 0


@pytest.mark.parametrize("letter", ["a", "\N{HIRAGANA LETTER A}"])
def test_names_may_be_as_long_as_the_file_system_permits(letter: str, photo: Path, tmp_path: Path) -> None:
    longest = tmp_path / (letter * (252 // len(letter.encode())) + ".vq")
    assert encode(photo, longest).exit_code == 0
    assert longest.exists()
    too_long = tmp_path / (letter * (253 // len(letter.encode()) + 1) + ".vq")
    line = only_error(encode(photo, too_long))
    assert line.startswith(f"error: {too_long}: ")
    assert "too long" in line
    assert sorted(names_in(tmp_path)) == sorted([longest.name, "photo.png"])


@pytest.mark.parametrize("name", ["-photo.png", "a  photo.png", "日本語 🎈.png", "--debug", "a\nb\x1b[2J.png"])
def test_names_of_all_kinds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_picture(tmp_path / "x.png").rename(tmp_path / name)
    result = encode("--", name, f"{name}.vq")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{printable(name)}.vq: ")
    assert result.stdout.count("\n") == 1
    (tmp_path / name).write_bytes(b"")
    assert only_error(encode("-f", "--", name, f"{name}.vq")).startswith(f"error: {printable(name)}: is empty")
    info = vqcodec("info", "--", f"{name}.vq")
    assert info.stdout.splitlines()[0] == f"{printable(name)}.vq"


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    source, target = (tmp_path / os.fsdecode(b"caf\xe9" + suffix) for suffix in (b".png", b".vq"))
    make_picture(tmp_path / "x.png").rename(source)
    result = encode(source, target)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(str(tmp_path / r"caf\udce9.vq"))
    assert vqcodec("info", target, "--json").exit_code == 0
    assert only_error(encode(source, target)).startswith(rf"error: {tmp_path}/caf\udce9.vq: exists already")


def test_a_picture_too_large_for_its_type_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = tmp_path / "a.vq"
    assert encode(make_picture(tmp_path / "a.png", 16384, 2), stream).exit_code == 0
    monkeypatch.setattr(Codec, "decode_stream", None)
    line = only_error(vqcodec("decode", stream, tmp_path / "a.webp"))
    assert line.startswith(f"error: {tmp_path / 'a.webp'}: 16384 x 2 pixels do not fit: WEBP ends at 16383")


# ---- errors of our own ----


def test_debug_shows_the_traceback_wherever_it_stands(photo: Path, stream: Path, tmp_path: Path) -> None:
    stream.write_bytes(b"no stream")
    target = tmp_path / "a.png"
    for arguments in (
        ("--debug", "decode", stream, target),
        ("decode", stream, target, "--debug"),
        ("--debug", "encode", photo, tmp_path / "a.vq", "--model", "nosuch"),
        ("encode", photo, tmp_path / "a.vq", "--model", "nosuch", "--debug"),
        ("--debug", "info", stream),
        ("info", stream, "--debug"),
    ):
        result = vqcodec(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Traceback (most recent call last):")
        assert result.stderr.splitlines()[-1].startswith("error: ")


def test_an_error_that_nobody_expected_is_a_line_too(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> bytes:
        raise RuntimeError("boom\n  and more")

    monkeypatch.setattr(Codec, "encode", broken)
    line = only_error(encode(photo, tmp_path / "a.vq"))
    assert (
        line == f"error: {photo}: unexpected RuntimeError (boom and more): please report this with what --debug shows"
    )


def test_running_out_of_memory_is_said_in_words() -> None:
    for error in (MemoryError(), RuntimeError("CUDA out of memory."), RuntimeError("can't allocate memory: 9 bytes")):
        assert describe(error, "a.png").startswith("a.png: not enough memory for a picture of this size")


def test_exceptions_about_data_are_named_where_they_are_made() -> None:
    for module, names in failures._ABOUT_DATA.items():
        made = import_module(module)
        assert [getattr(made, name).__module__ for name in names] == [module] * len(names)
