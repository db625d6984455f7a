"""The sampler with a prior that is told something of a picture: what follows it, what is enlarged, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prior_helpers import write_prior

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import MODELS_VARIABLE
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import find_prior, load_prior_folder
from vqcodec.codec import Codec
from vqcodec.generation.conditions import enlarged
from vqcodec.generation.config import FOR_UPSCALING, SamplingConfig, Series
from vqcodec.generation.sampler import SampledPicture, Sampler, load_condition
from vqcodec.pictures.image import ImageError, from_tensor

SIZE = (50, 37)
PHOTO = synthetic_picture(*SIZE, seed=1)
#: of middle brightness, so that nothing is clipped
LOW = (64 + synthetic_picture(13, 9, seed=2) // 2).astype(np.uint8)


@pytest.fixture(scope="module")
def priors(tiny_model: Path, edges_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of priors: told nothing, the picture at low resolution, its edges."""
    folder = tmp_path_factory.mktemp("priors")
    write_prior(folder / "nothing", tiny_model)
    write_prior(folder / "low-4", tiny_model, condition="low-4")
    write_prior(folder / "edges", tiny_model, condition="edges", condition_model=edges_model)
    return folder


def load(model: Path, prior: Path, **options: Any) -> Sampler:
    return Sampler.load(model, prior, device="cpu", dtype=torch.float32, **options)


@pytest.fixture(scope="module")
def low(tiny_model: Path, priors: Path) -> Sampler:
    return load(tiny_model, priors / "low-4")


@pytest.fixture(scope="module")
def edges(tiny_model: Path, priors: Path, edges_model: Path) -> Sampler:
    return load(tiny_model, priors / "edges", condition_model=edges_model)


def equal(left: SampledPicture, right: SampledPicture) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.tokens, right.tokens, strict=True))


def shrunk(picture: SampledPicture) -> np.ndarray:
    """The mean of each 4 x 4 pixels."""
    height, width, _ = picture.rgb.shape
    return np.asarray(picture.rgb.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3)))


# ---- generate with a condition ----


@pytest.mark.parametrize("name", ["low", "edges"])
def test_a_condition_changes_the_picture(name: str, request: pytest.FixtureRequest) -> None:
    sampler: Sampler = request.getfixturevalue(name)
    conditions = [None, sampler.condition_of(PHOTO), sampler.condition_of(PHOTO[::-1])]
    made = [next(sampler.generate(Series(), size=SIZE, condition=condition)) for condition in conditions]
    assert [each.rgb.shape for each in made] == [PHOTO.shape] * 3
    assert not any(equal(a, b) for number, a in enumerate(made) for b in made[:number])


def test_the_condition_of_a_picture_is_that_of_what_it_shows(low: Sampler, edges: Sampler) -> None:
    whole = synthetic_picture(48, 32, seed=1)  # of whole tokens: the padding of what it shows is another
    for sampler, shape in ((low, (1, 2, 2, 3)), (edges, (1, 2, 4, 6))):
        assert sampler.condition is not None
        told = sampler.condition_of(whole)
        assert (told.shape, told.dtype) == (shape, torch.int64)
        assert torch.equal(told, sampler.condition_from_map(sampler.condition.shown(whole[None])[0]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_condition_is_that_of_all_pictures_however_many_there_are(edges: Sampler, batch_size: int) -> None:
    condition = edges.condition_of(PHOTO)
    wanted = list(edges.generate(Series(4, seed=3, batch_size=2), size=SIZE, condition=condition))
    made = list(edges.generate(Series(3, seed=3, batch_size=batch_size), size=SIZE, condition=condition))
    assert all(equal(a, b) for a, b in zip(made, wanted, strict=False))
    assert not equal(made[0], made[1])


def test_guidance_leads_towards_a_condition(edges: Sampler) -> None:
    told = edges.condition_of(PHOTO)
    made = [
        next(edges.generate(Series(config=SamplingConfig(guidance=guidance)), size=SIZE, condition=told))
        for guidance in (0.0, 3.0)
    ]
    assert not equal(*made)
    with pytest.raises(ValueError, match="guidance leads towards a class or a condition: give one"):
        next(edges.generate(Series(config=SamplingConfig(guidance=1.0)), size=SIZE))


def test_a_class_and_a_condition_go_together(edges: Sampler) -> None:
    told = edges.condition_of(PHOTO)
    made = [next(edges.generate(Series(labels=labels), size=SIZE, condition=told)) for labels in ([0], [1], None)]
    assert not any(equal(a, b) for number, a in enumerate(made) for b in made[:number])


@pytest.mark.parametrize("name", ["low", "edges"])
def test_the_condition_of_a_picture_of_another_size_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    sampler: Sampler = request.getfixturevalue(name)
    told = sampler.condition_of(PHOTO)
    for size in ((60, 70), (16, 16)):
        with pytest.raises(
            ValueError, match=rf"the condition of {size[0]} x {size[1]} pixels is \(1, 2, \d, \d\), not"
        ):
            sampler.generate(Series(), size=size, condition=told)


@pytest.mark.parametrize("picture", [PHOTO[..., 0], PHOTO[:0], PHOTO / 255])
def test_what_is_no_picture_is_refused(picture: np.ndarray, low: Sampler) -> None:
    for use in (low.condition_of, low.condition_from_map, low.upscale):
        with pytest.raises(ImageError, match=r"expected \(H, W, 3\) uint8 pixels"):
            use(picture)


def test_a_model_of_label_maps_makes_no_pictures(edges_model: Path, tmp_path: Path) -> None:
    prior = write_prior(tmp_path / "prior", edges_model, classes=())
    with pytest.raises(ModelError, match="it does not code pictures; use another --model"):
        Sampler.load(edges_model, prior, device="cpu")


def test_a_prior_that_is_told_nothing_takes_no_condition(tiny_model: Path, priors: Path, low: Sampler) -> None:
    plain = load(tiny_model, priors / "nothing")
    for told in (plain.condition_of, plain.condition_from_map):
        with pytest.raises(ValueError, match="prior random is told nothing of a picture"):
            told(PHOTO)
    with pytest.raises(ValueError, match="this prior takes no grid as condition"):
        next(plain.generate(Series(), size=SIZE, condition=low.condition_of(PHOTO)))


# ---- upscale ----


@pytest.mark.parametrize("keep", [True, False])
def test_a_picture_is_enlarged(low: Sampler, keep: bool) -> None:
    assert low.upscaling == 4
    made = list(low.upscale(LOW, Series(count=2), keep=keep))
    assert [each.number for each in made] == [0, 1]
    assert [each.rgb.shape for each in made] == [(36, 52, 3)] * 2
    assert made[0].filled == low.count_tokens((52, 36)) == 24
    assert not np.array_equal(made[0].rgb, made[1].rgb)
    off = [np.abs(shrunk(each) - LOW).mean() for each in made]
    assert max(off) < 0.5 if keep else min(off) > 10  # more only where the random model's colours are clipped


def test_the_tokens_do_not_depend_on_what_is_kept(low: Sampler) -> None:
    kept, free = (next(low.upscale(LOW, keep=keep)) for keep in (True, False))
    assert equal(kept, free)
    assert np.array_equal(from_tensor(low.codec.detokenize(kept.tokens), 52, 36), free.rgb)
    decoded = low.codec.decode_stream(low.codec.write(kept.tokens, 52, 36))
    assert np.array_equal(decoded.image.rgb, free.rgb)


def test_an_enlarged_picture_depends_on_seed_and_number_only(low: Sampler) -> None:
    series = Series(3, seed=4, labels=[1] * 3, config=SamplingConfig(0.9, guidance=1.0), batch_size=2)
    wanted = list(low.upscale(LOW, series))
    made = list(low.upscale(LOW, replace(series, count=2, labels=[1] * 2, batch_size=1)))
    for a, b in zip(made, wanted, strict=False):
        assert equal(a, b)
        assert np.array_equal(a.rgb, b.rgb)
    assert not equal(next(low.upscale(LOW, replace(series, count=1, seed=5, labels=[1]))), wanted[0])


def test_upscaling_is_generating_with_the_enlarged_picture_as_condition(low: Sampler) -> None:
    told = low.condition_from_map(enlarged(LOW[None], 4)[0])
    made = next(low.generate(Series(config=FOR_UPSCALING), size=(52, 36), condition=told))
    assert equal(next(low.upscale(LOW)), made)
    assert not equal(next(low.upscale(LOW)), next(low.upscale(LOW[::-1])))


@pytest.mark.parametrize("size", [(1, 1), (3, 20)])
def test_pictures_of_any_size_are_enlarged(low: Sampler, size: tuple[int, int]) -> None:
    assert next(low.upscale(synthetic_picture(*size))).rgb.shape == (4 * size[1], 4 * size[0], 3)


def test_fewer_levels_and_progress(low: Sampler) -> None:
    told: list[int] = []
    (made,) = low.upscale(LOW, Series(levels=1), progress=told.append)
    assert len(made.tokens) == 1
    assert sum(told) == 12
    assert np.abs(shrunk(made) - LOW).mean() < 0.5


@pytest.mark.parametrize("name", ["nothing", "edges"])
def test_a_prior_that_is_told_no_low_resolution_enlarges_nothing(
    name: str, tiny_model: Path, edges_model: Path, priors: Path
) -> None:
    sampler = load(tiny_model, priors / name, condition_model=edges_model if name == "edges" else None)
    with pytest.raises(ValueError, match="prior random is told no picture at low resolution"):
        sampler.upscale(LOW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count 0 and batch size 8 are 1 or more"),
        ({"seed": -1}, "seed -1 0 or more"),
        ({"levels": 3}, "levels 3: there are 1 to 2"),
        ({"labels": [0, 1]}, "2 labels for 1 pictures"),
    ],
)
def test_arguments_are_checked_at_once(low: Sampler, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        low.upscale(LOW, Series(**arguments))


# ---- the model of the condition ----


def test_the_models_own_codec_makes_the_condition(tiny_model: Path, priors: Path) -> None:
    """Though it is not among the installed ones."""
    codec = Codec.load(tiny_model, device="cpu", dtype=torch.float32)
    card = load_prior_folder(priors / "low-4").card
    for model in (None, tiny_model):
        made = load_condition(card, codec, model)
        assert made is not None
        assert made.codec is codec
    assert load_condition(load_prior_folder(priors / "nothing").card, codec) is None


def test_another_model_is_found_by_its_id(
    tiny_model: Path, edges_model: Path, priors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(edges_model.parent))
    sampler = load(tiny_model, priors / "edges")
    assert sampler.condition is not None
    assert sampler.condition.codec.card == load_model_folder(edges_model).card
    assert (sampler.condition.codec.dtype, sampler.condition.codec.device) == (torch.float32, torch.device("cpu"))


def test_a_model_of_the_condition_that_is_not_installed(
    tiny_model: Path, edges_model: Path, priors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    missing = load_model_folder(edges_model).card.model_id.hex()
    with pytest.raises(ModelError, match=f"{missing}: no such model folder, and no installed model of that name or id"):
        load(tiny_model, priors / "edges")


def test_another_model_of_the_condition_than_the_prior_has_learned(
    tiny_model: Path, edges_model: Path, priors: Path
) -> None:
    own, learned = (load_model_folder(folder).card.model_id.hex() for folder in (tiny_model, edges_model))
    with pytest.raises(ModelError) as caught:
        load(tiny_model, priors / "edges", condition_model=tiny_model)
    assert str(caught.value) == (f"prior random is told edges (model {learned}), not edges (model {own})")
    with pytest.raises(ModelError, match="model tiny-edges makes no tokens of the condition 'low-4': it does of edges"):
        load(tiny_model, priors / "low-4", condition_model=edges_model)


def test_a_prior_that_is_told_nothing_needs_no_model(tiny_model: Path, edges_model: Path, priors: Path) -> None:
    with pytest.raises(ModelError, match="prior random is told nothing of a picture; leave the model of its condition"):
        load(tiny_model, priors / "nothing", condition_model=edges_model)


def test_a_condition_for_a_prior_that_is_told_nothing(low: Sampler, priors: Path) -> None:
    with pytest.raises(ModelError, match=r"prior random is told nothing \(model none\), not low-4 \(model "):
        Sampler(low.codec, load_prior_folder(priors / "nothing"), low.condition)


def test_the_prior_for_a_condition_is_found_in_the_models_folder(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_prior(model / "prior", model)
    write_prior(model / "prior-low-4", model, condition="low-4")
    assert Sampler.load(model, device="cpu").card.condition == ""
    sampler = Sampler.load(model, condition="low-4", device="cpu")
    assert sampler.card.condition == "low-4"
    assert sampler.condition is not None
    with pytest.raises(ModelError, match="model tiny has no prior for low-8; train one with"):
        Sampler.load(model, condition="low-8")
    with pytest.raises(ModelError, match="prior random is told nothing, not low-4"):
        Sampler.load(model, model / "prior", condition="low-4")
    with pytest.raises(ModelError, match="prior random is told low-4, not low-8; it takes --factor 4"):
        Sampler.load(model, model / "prior-low-4", condition="low-8")
    own = dataclasses.replace(load_model_folder(model), path=model)
    assert Sampler(sampler.codec, find_prior(own, condition="low-4")).condition is None
