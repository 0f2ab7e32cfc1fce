"""One contract for the models of runs, checkpoints and bundles."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cbalign
from cbalign.errors import CbalignError, DataError, UsageError

CLOSE = {"rtol": 0, "atol": 1e-5}


def as_png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_may_be_given_in_each_form(model, pictures, folder):
    picture = pictures[3]
    array = np.asarray(picture)
    expected = model.encode_images(picture)
    assert expected.shape == (8,)
    assert np.linalg.norm(expected) == pytest.approx(1, abs=1e-5)
    path = folder / "3.png"
    forms = [str(path), path, as_png(picture), array, array.astype(np.float32) / 255, array.astype(np.float64) / 255]
    for form in forms:
        np.testing.assert_allclose(model.encode_images(form), expected, **CLOSE)
    together = model.encode_images([picture, *forms])
    np.testing.assert_allclose(together, np.tile(expected, (len(forms) + 1, 1)), **CLOSE)


def test_many_images(model, pictures):
    vectors = model.encode_images(pictures)
    assert vectors.shape == (len(pictures), 8)
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    np.testing.assert_allclose(model.encode_images(arrays), vectors, **CLOSE)
    np.testing.assert_allclose(model.encode_images(tuple(pictures)), vectors, **CLOSE)
    np.testing.assert_allclose(model.encode_images(picture for picture in pictures), vectors, **CLOSE)
    np.testing.assert_allclose(model.encode_images(pictures, batch_size=3), vectors, **CLOSE)
    assert model.encode_images(pictures[:1]).shape == (1, 8)
    assert model.encode_images([]).shape == (0, 8)


def test_texts(model):
    one = model.encode_texts("a red cat")
    many = model.encode_texts(["a red cat", "a blue hat", "a black dog"])
    assert one.shape == (8,)
    assert many.shape == (3, 8)
    np.testing.assert_allclose(many[0], one, **CLOSE)
    np.testing.assert_allclose(
        model.encode_texts(("a red cat", "a blue hat", "a black dog"), batch_size=2), many, **CLOSE
    )
    assert model.encode_texts([]).shape == (0, 8)


def test_a_run_its_checkpoint_and_its_bundle_agree(run_model, checkpoint_model, bundle_model, pairs):
    images, texts = [image for image, _ in pairs], [text for _, text in pairs]
    for other in (checkpoint_model, bundle_model):
        np.testing.assert_allclose(other.encode_images(images), run_model.encode_images(images), **CLOSE)
        np.testing.assert_allclose(other.encode_texts(texts), run_model.encode_texts(texts), **CLOSE)
        np.testing.assert_allclose(other.match(images, texts), run_model.match(images, texts), rtol=0, atol=1e-4)
        vectors = run_model.encode_images(images)
        np.testing.assert_allclose(
            other.codes(vectors).probabilities, run_model.codes(vectors).probabilities, rtol=0, atol=1e-4
        )


def test_similarity_is_of_every_image_with_every_text(model, pictures):
    texts = ["a red cat", "a blue hat"]
    cosines = model.similarity(pictures[:3], texts)
    assert cosines.shape == (3, 2)
    vectors, words = model.encode_images(pictures[:3]), model.encode_texts(texts)
    np.testing.assert_allclose(cosines, vectors @ words.T, **CLOSE)
    np.testing.assert_allclose(model.similarity(vectors, words), cosines, **CLOSE)
    np.testing.assert_allclose(model.similarity(vectors[0], texts), cosines[:1], **CLOSE)
    assert model.similarity(pictures[0], "a red cat").shape == (1, 1)
    assert model.similarity([], texts).shape == (0, 2)


def test_match_takes_pairs_or_one_with_many(model, pictures):
    texts = ["a red cat", "a blue hat", "a green car"]
    scores = model.match(pictures[:3], texts)
    assert scores.shape == (3,)
    np.testing.assert_allclose(model.match(pictures[1], texts)[1], scores[1], **CLOSE)
    np.testing.assert_allclose(model.match(pictures[:3], texts[2])[2], scores[2], **CLOSE)
    np.testing.assert_allclose(model.match(pictures[0], texts[0]), scores[:1], **CLOSE)
    assert model.match([], []).shape == (0,)
    assert model.match([], "a red cat").shape == (0,)
    many = model.match([pictures[0]] * 40, [texts[0]] * 40)  # more than a batch
    np.testing.assert_allclose(many, np.full(40, scores[0]), **CLOSE)


@pytest.mark.parametrize(("images", "texts"), [(2, 3), (3, 2), (0, 2), (2, 0)])
def test_match_refuses_what_are_not_pairs(model, pictures, images, texts):
    with pytest.raises(UsageError, match=f"{images} images and {texts} texts are not pairs"):
        model.match(pictures[:images], ["a red cat"] * texts)


def test_rank(model, pictures, folder):
    cosines = model.similarity(pictures, "a red cat")[:, 0]
    ranking = model.rank("a red cat", pictures)
    assert [hit.index for hit in ranking] == np.argsort(-cosines, kind="stable").tolist()
    assert [hit.score for hit in ranking] == sorted((hit.score for hit in ranking), reverse=True)
    assert len(model.rank("a red cat", pictures, top=3)) == 3
    assert ranking[0].image is pictures[ranking[0].index]
    assert len(model.rank("a red cat", [])) == 0

    reranked = model.rank("a red cat", pictures, rerank=4)
    assert {hit.index for hit in reranked[:4]} == {hit.index for hit in ranking[:4]}
    assert [hit.match for hit in reranked[:4]] == sorted((hit.match for hit in reranked[:4]), reverse=True)
    assert [hit.index for hit in reranked[4:]] == [hit.index for hit in ranking[4:]]
    assert all(hit.match is None for hit in reranked[4:])

    like = model.rank(folder / "3.png", pictures, top=1)
    assert like[0].score == pytest.approx(1, abs=1e-4)
    with pytest.raises(UsageError, match="rerank needs a text query"):
        model.rank(folder / "3.png", pictures, rerank=2)


def test_a_ranking_shows_itself(run_model, pictures, folder):
    ranking = run_model.rank("a <red> cat", [folder / "0.png", pictures[1]], rerank=1)
    text, page = repr(ranking), ranking._repr_html_()
    assert text.startswith("Ranking for 'a <red> cat'\n   1. ")
    assert "0.png" in text
    assert "image 1" in text
    assert "match" in text
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;red&gt;" in page
    data = ranking.to_dict()
    assert data["query"] == "a <red> cat"
    assert {hit["image"] for hit in data["hits"]} == {str(folder / "0.png"), None}


def test_codes(model, pictures):
    vectors = model.encode_images(pictures[:5])
    codes = model.codes(vectors)
    assert len(codes) == 5
    assert codes.probabilities.shape == (5, 6)
    assert codes.prototype.shape == (5, 8)
    np.testing.assert_allclose(codes.probabilities.sum(1), 1, rtol=1e-5)
    assert (codes.probabilities.argmax(1) == codes.code).all()
    assert (model.codes(pictures[:5]).code == codes.code).all()
    assert len(model.codes(vectors[0])) == 1
    assert len(model.codes([])) == 0
    assert repr(codes).startswith("Codes of 5 vectors among 6 prototypes: ")
    assert codes.to_dict()["code"] == codes.code.tolist()


def test_features(model, pictures):
    images, texts = model.image_features(pictures[:2]), model.text_features(["a red cat", "a dog"])
    np.testing.assert_allclose(images.embedding, model.encode_images(pictures[:2]), **CLOSE)
    np.testing.assert_allclose(texts.embedding, model.encode_texts(["a red cat", "a dog"]), **CLOSE)
    assert images.tokens.shape[0] == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "NoneType is not an image"),
        (7, "int is not an image"),
        ([None], "NoneType is not an image"),
        ({"image": "a.png"}, "dict is not an image"),
        (np.zeros((4, 4)), r"an image array must be \(H, W, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), r"an image array must be \(H, W, 3\)"),
        (np.zeros((8, 8, 3), np.int32), "must be uint8, or float"),
        (np.full((8, 8, 3), 200.0), r"must lie in \[0, 1\]"),
        (b"not an image", "not an image of format"),
        ("missing.png", "missing.png"),
    ],
)
def test_what_is_not_an_image_is_refused(model, given, message):
    with pytest.raises(CbalignError, match=message):
        model.encode_images(given)


@pytest.mark.parametrize(
    ("given", "message", "remedy"),
    [
        ("a red car", "a red car: no such image", "A str is a path; pass texts"),
        ("https://example.org/a.jpg", "is a URL: URLs are not read", "Download"),
        (np.zeros((3, 8, 9), np.uint8), r"must be \(H, W, 3\)", "np.moveaxis"),
        (np.zeros((5, 8), np.float32), r"must be \(H, W, 3\)", "`similarity` and `codes` take vectors"),
        (np.full((8, 8, 3), -0.5), "must lie in", "before they are normalised"),
        (["missing.png", b"x"], "missing.png", "A str is a path"),
    ],
)
def test_a_wrong_image_has_a_remedy(model, given, message, remedy):
    with pytest.raises(CbalignError, match=message) as caught:
        model.encode_images(given)
    assert remedy in caught.value.remedy


def test_a_bad_image_of_many_has_its_index(model, pictures, folder):
    with pytest.raises(DataError, match="image 3: image: not an image"):
        model.encode_images([*pictures[:3], b"x"], batch_size=2)
    with pytest.raises(DataError) as caught:
        model.encode_images(folder)
    assert "cbalign.index" in caught.value.remedy


def test_home_is_expanded(model, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    np.testing.assert_allclose(model.encode_images("~/3.png"), model.encode_images(folder / "3.png"), **CLOSE)


def test_tensors(model, pictures):
    import torch

    tensors = torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in pictures[:3]])
    vectors = model.encode_images(pictures[:3])
    assert model.encode_images(tensors[0]).shape == (8,)
    for given in (tensors, tensors / 255, list(tensors), tensors.permute(0, 2, 3, 1)):
        np.testing.assert_allclose(model.encode_images(given), vectors, **CLOSE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, images: model.encode_images(images, batch_size=0), "batch_size must be .* at least 1, not 0"),
        (lambda model, images: model.encode_images(images, batch_size=-1), "batch_size"),
        (lambda model, images: model.encode_texts("a", batch_size=0), "batch_size"),
        (lambda model, images: model.similarity(np.ones((2, 5)), "a"), r"vectors of shape \(2, 5\), .* d = 8"),
        (lambda model, images: model.codes(np.ones(5)), r"vectors of shape \(5,\), .* d = 8"),
        (lambda model, images: model.rank("a", images, top=-1), "top must be"),
        (lambda model, images: model.rank("a", images, rerank=-1), "rerank must be"),
        (lambda model, images: model.rank("a", images, rerank=True), "rerank must be"),
    ],
)
def test_arguments_are_checked(model, pictures, call, message):
    with pytest.raises(UsageError, match=message):
        call(model, pictures[:2])


def test_a_text_that_names_a_file_is_a_warning(model, pictures, folder):
    with pytest.warns(UserWarning, match="wrap it in Path"):
        model.rank(str(folder / "3.png"), pictures)


@pytest.mark.parametrize("given", [None, 3, b"a cat", [None], ["a cat", 0], ["a cat", b"a dog"]])
def test_what_is_not_a_text_is_refused(model, given):
    with pytest.raises(UsageError, match="texts must be str, not "):
        model.encode_texts(given)


def test_a_model_describes_itself(model, run):
    assert model.name == "mine"
    assert model.task == "pretrain"
    assert model.step == 4
    assert model.image_size == 16
    assert model.has_codebook
    assert model.has_matcher
    assert model.experiment.model.joint_dim == 8
    assert repr(model).startswith("Model 'mine' (pretrain, step 4; 16 px; ")
    assert "codebook and match head" in repr(model)
    assert "mine" in model._repr_html_()
    assert model.to_dict()["step"] == 4


def test_the_module_has_gradients(run_model, pictures):
    import torch

    module = run_model.module
    assert not module.training
    outputs = module(run_model.prepare(pictures[:2]), *run_model.tokenize(["a red cat", "a blue hat"]))
    np.testing.assert_allclose(outputs.image.detach().numpy(), run_model.encode_images(pictures[:2]), **CLOSE)
    np.testing.assert_allclose(
        outputs.text.detach().numpy(), run_model.encode_texts(["a red cat", "a blue hat"]), **CLOSE
    )
    (outputs.image * outputs.text).sum().backward()
    reached = {name for name, p in module.named_parameters() if p.grad is not None and torch.any(p.grad != 0)}
    assert any("vision" in name for name in reached)
    assert any("text" in name for name in reached)
    module.zero_grad(set_to_none=True)


def test_a_bundle_has_no_module(bundle_model):
    with pytest.raises(UsageError, match="is an exported bundle") as caught:
        _ = bundle_model.module
    assert "Load the run" in caught.value.remedy


def test_load_takes_names_paths_and_objects(run, bundle, home, monkeypatch):
    monkeypatch.chdir(home)
    for target in ("runs/latest", run.name, f"runs/{run.name}", run.path, run):
        assert cbalign.load(target, device="cpu").step == 4
    assert cbalign.load("exports/mine").backend.startswith("onnxruntime")
    assert cbalign.load(run.checkpoints[0], device="cpu").step == 2


def test_a_run_is_opened_by_name(run, home, monkeypatch):
    monkeypatch.chdir(home)
    opened = [cbalign.Run(target) for target in ("runs/latest", run.name, f"runs/{run.name}", run.path, run)]
    monkeypatch.chdir("/")
    assert all(each == run and each.status == "finished" for each in opened)


def test_paths_outlive_a_change_of_the_working_directory(run, bundle, home, monkeypatch, folder, tmp_path):
    monkeypatch.chdir(home)
    model = cbalign.load(f"runs/{run.name}", device="cpu")
    monkeypatch.chdir(tmp_path)
    assert model.path == run.path
    assert len(cbalign.index(model, folder, cache=tmp_path / "cache")) == 20


def test_a_run_has_no_precisions_and_devices_have_names(run, bundle):
    assert cbalign.load(run, device="cpu", precision="fp32").step == 4
    with pytest.raises(UsageError, match="precisions are of bundles"):
        cbalign.load(run, device="cpu", precision="fp16")
    for target in (run, bundle):
        with pytest.raises(UsageError, match="no device 'gpu'"):
            cbalign.load(target, device="gpu")


@pytest.mark.parametrize("target", ["nothing", "runs/nothing", "exports/nothing", "pictures"])
def test_load_says_what_is_neither_run_nor_bundle(run, folder, home, monkeypatch, target):
    monkeypatch.chdir(home)
    with pytest.raises(UsageError, match=r"nothing|pictures") as caught:
        cbalign.load(target)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_folder_is_indexed_once(kind, request, folder, tmp_path):
    model = request.getfixturevalue(f"{kind}_model")
    seen = []
    index = cbalign.index(
        model, folder, cache=tmp_path / "cache", progress=lambda done, total: seen.append((done, total))
    )
    assert len(index) == 20
    assert seen[-1] == (20, 20)
    assert repr(index) == f"Index of 20 images in {folder}"
    assert str(folder) in index._repr_html_()
    assert index.to_dict() == {"folder": str(folder), "images": 20, "problems": {}}
    cosines = model.similarity([folder / f"{i}.png" for i in range(20)], "a red cat")[:, 0]
    found = index.search("a red cat", top=3)
    assert [Path(hit.image).stem for hit in found] == [str(i) for i in np.argsort(-cosines, kind="stable")[:3]]
    assert index.search("a red cat", top=2, rerank=5)[0].match is not None
    example = index.search(folder / "3.png", top=1)
    assert example[0].image == folder / "3.png"
    with pytest.raises(UsageError, match="rerank needs a text query"):
        index.search(Image.open(folder / "3.png"), rerank=2)
    (encoded,) = [cbalign.index(model, folder, cache=tmp_path / "cache")]
    assert len(encoded) == 20
    assert encoded._vectors.changes.encoded == 0


def test_an_index_names_unusable_files(bundle_model, pictures, tmp_path):
    pictures[0].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    index = cbalign.index(bundle_model, tmp_path, cache=tmp_path / "cache")
    assert list(index.problems) == ["bad.png"]
    assert repr(index).endswith("1 unusable file")


def test_an_index_needs_a_folder(bundle_model, tmp_path):
    with pytest.raises(DataError):
        cbalign.index(bundle_model, tmp_path / "nothing", cache=tmp_path / "cache")


def test_classify(old_run, pictures):
    nlvr2 = cbalign.load(old_run("nlvr2"), device="cpu")
    (row, second) = nlvr2.classify([(pictures[0], pictures[1]), pictures[2:4]], ["both are red", "one is blue"])
    assert sum(row.values()) == pytest.approx(1)
    assert row != second
    entailment = cbalign.load(old_run("entailment"), device="cpu")
    (row,) = entailment.classify([pictures[0]], "it is red")
    assert len(row) == 3
    assert sum(row.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="does not embed images"):
        entailment.encode_images(pictures[0])
    with pytest.raises(UsageError, match="does not answer questions"):
        entailment.answer(pictures[0], "what?")
    with pytest.raises(UsageError, match="1 texts and 2"):
        entailment.classify(pictures[:2], "it is red")
    with pytest.raises(UsageError, match="2 images"):
        nlvr2.classify([pictures[0]], "it is red")


def test_answer(old_run, pictures):
    vqa = cbalign.load(old_run("vqa"), device="cpu")
    answers = vqa.answer(pictures[:2], ["what colour?", "how many?"])
    assert len(answers) == 2
    assert all(isinstance(answer, str) for answer in answers)
    assert len(vqa.answer(pictures[0], ["what colour?", "how many?"])) == 2
    assert len(vqa.answer(pictures[0], "what colour?", candidates=2)) == 1
    with pytest.raises(UsageError, match="2 images and 3 questions"):
        vqa.answer(pictures[:2], ["a?", "b?", "c?"])
    with pytest.raises(UsageError, match="does not classify"):
        vqa.classify([pictures[0]], "it is red")
    assert not vqa.has_codebook
    assert not vqa.has_matcher


def test_other_tasks_refuse_what_they_cannot(run_model, pictures):
    with pytest.raises(UsageError, match="does not classify texts"):
        run_model.classify([pictures[0]], "it is red")
    with pytest.raises(UsageError, match="does not answer questions"):
        run_model.answer(pictures[0], "what?")
