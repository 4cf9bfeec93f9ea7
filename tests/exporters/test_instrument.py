"""The explainable graph keeps the contract, on a small network whose gradients are known in closed form."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnxruntime as ort
import pytest

from onnxplain.contract import METADATA_KEY, PRESETS, BoxSpec, ModelSpec, Preprocessing
from onnxplain.errors import VerificationError
from onnxplain.exporters import instrument
from onnxplain.exporters.gradient import rules
from onnxplain.exporters.gradient.rules import RULES, Gradients, Site
from onnxplain.exporters.writing import seeds
from onnxplain.exporters.writing.verdicts import CamVerdict
from tests.exporters.graphs import open_session, session
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, WEIGHTS, plain_model, save
from tests.exporters.torch_models import images

POSITIONS = SIZE_HW[0] * SIZE_HW[1]
LAYERS = ("early", "late")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(plain_model(), tmp_path_factory.mktemp("plain") / "plain.onnx")


@pytest.fixture(scope="module")
def classifier(source: Path) -> ort.InferenceSession:
    """Both layers, both inputs optional."""
    instrument(source, source.with_name("explainable.onnx"), layers=LAYERS)
    return open_session(source.with_name("explainable.onnx"))


@pytest.fixture(scope="module")
def localizer(tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    folder = tmp_path_factory.mktemp("localizer")
    instrument(save(plain_model(box=True), folder / "plain.onnx"), folder / "out.onnx", layers=["late"], box="box")
    return open_session(folder / "out.onnx")


def feeds(count: int, target: list[int] | None = None, explain: list[bool] | None = None) -> dict[str, np.ndarray]:
    fed: dict[str, np.ndarray] = {"image": images(count, SIZE_HW)}
    if target is not None:
        fed["target"] = np.array(target, np.int64)
    if explain is not None:
        fed["explain"] = np.array(explain, bool)
    return fed


def run(model: ort.InferenceSession, output: str, fed: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(model.run([output], fed)[0])


def signature(values: list[ort.NodeArg]) -> list[tuple[str, str, list[int | str]]]:
    return [(value.name, value.type, value.shape) for value in values]


class TestModelItself:
    def test_inputs_and_outputs_keep_name_order_type_and_shape(
        self, source: Path, classifier: ort.InferenceSession
    ) -> None:
        plain = open_session(source)
        assert signature(classifier.get_inputs()) == signature(plain.get_inputs())
        found = signature(classifier.get_outputs())
        assert found[: len(plain.get_outputs())] == signature(plain.get_outputs())

    @pytest.mark.parametrize("explain", [None, [False], [True]])
    def test_values_are_unchanged(
        self, source: Path, classifier: ort.InferenceSession, explain: list[bool] | None
    ) -> None:
        expected = run(open_session(source), "logits", feeds(3))
        np.testing.assert_allclose(run(classifier, "logits", feeds(3, explain=explain)), expected, rtol=1e-5, atol=1e-6)

    def test_a_fixed_batch_stays_fixed_on_demand(self, tmp_path: Path) -> None:
        instrument(save(plain_model(batch=1), tmp_path / "plain.onnx"), tmp_path / "out.onnx", batch="fixed")
        model = open_session(tmp_path / "out.onnx")
        assert model.get_inputs()[0].shape == [1, 3, *SIZE_HW]
        shapes = {value.name: value.shape for value in model.get_outputs()}
        assert shapes["features/late"] == [1, MAPS, *SIZE_HW]
        assert shapes["gradients/late"] == ["explained", MAPS, *SIZE_HW]
        assert run(model, "gradients/late", feeds(1, explain=[True])).shape == (1, MAPS, *SIZE_HW)
        assert run(model, "gradients/late", feeds(1)).shape == (0, MAPS, *SIZE_HW)


class TestInputs:
    def test_both_are_optional(self, classifier: ort.InferenceSession) -> None:
        assert [value.name for value in classifier.get_inputs()] == ["image"]
        added = {value.name: (value.type, value.shape) for value in classifier.get_overridable_initializers()}
        assert {name: kind for name, (kind, _) in added.items()} == {
            "target": "tensor(int64)",
            "explain": "tensor(bool)",
        }
        assert all(len(shape) == 1 and isinstance(shape[0], str) for _, shape in added.values())

    def test_required_form_has_no_defaults(self, source: Path, tmp_path: Path) -> None:
        instrument(source, tmp_path / "out.onnx", layers=LAYERS, required_inputs=True)
        model = open_session(tmp_path / "out.onnx")
        assert [value.name for value in model.get_inputs()] == ["image", "target", "explain"]
        assert not model.get_overridable_initializers()
        gradient = run(model, "gradients/late", feeds(2, [4], [True]))
        np.testing.assert_allclose(gradient[1, :, 0, 0], WEIGHTS[4] / POSITIONS, rtol=1e-5)
        with pytest.raises(ValueError, match="target"):
            model.run(None, feeds(2, explain=[True]))


class TestExplain:
    @pytest.mark.parametrize(
        ("explain", "opened"),
        [
            (None, ()),
            ([False], ()),
            ([True], LAYERS),
            ([False, False], ()),
            ([True, False], ("early",)),
            ([False, True], ("late",)),
            ([True, True], LAYERS),
        ],
    )
    def test_it_opens_the_layers_it_names(
        self, classifier: ort.InferenceSession, explain: list[bool] | None, opened: tuple[str, ...]
    ) -> None:
        for layer, maps in zip(LAYERS, (4, MAPS), strict=True):
            gradient = run(classifier, f"gradients/{layer}", feeds(3, explain=explain))
            assert gradient.dtype == np.float32
            assert gradient.shape == ((3 if layer in opened else 0), maps, *SIZE_HW)
            assert run(classifier, f"features/{layer}", feeds(3, explain=explain)).shape == (3, maps, *SIZE_HW)

    @pytest.mark.parametrize("explain", [[], [True] * 3])
    def test_another_length_fails(self, classifier: ort.InferenceSession, explain: list[bool]) -> None:
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            classifier.run(None, feeds(2, explain=explain))

    @pytest.mark.parametrize("explain", [[], [True] * 2, [False] * 3])
    def test_another_length_fails_for_one_layer(self, localizer: ort.InferenceSession, explain: list[bool]) -> None:
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            localizer.run(None, feeds(2, explain=explain))


class TestTarget:
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("target", range(CLASSES))
    def test_a_class_is_its_row_of_the_linear_layer(
        self, classifier: ort.InferenceSession, count: int, target: int
    ) -> None:
        gradient = run(classifier, "gradients/late", feeds(count, [target], [True]))
        expected = np.broadcast_to(WEIGHTS[target][:, None, None] / POSITIONS, gradient.shape)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)

    @pytest.mark.parametrize("target", [None, [-1], [-7], [-1, -1, -1]])
    def test_negative_is_the_class_with_the_largest_logit(
        self, classifier: ort.InferenceSession, target: list[int] | None
    ) -> None:
        best = run(classifier, "logits", feeds(3)).argmax(1)
        gradient = run(classifier, "gradients/late", feeds(3, target, [True]))
        np.testing.assert_allclose(gradient[:, :, 0, 0], WEIGHTS[best] / POSITIONS, rtol=1e-5)

    def test_each_image_may_have_its_own(self, classifier: ort.InferenceSession) -> None:
        best = run(classifier, "logits", feeds(3)).argmax(1)
        gradient = run(classifier, "gradients/late", feeds(3, [4, -1, 0], [True]))
        np.testing.assert_allclose(gradient[:, :, 2, 3], WEIGHTS[[4, best[1], 0]] / POSITIONS, rtol=1e-5)

    def test_box_coordinates_follow_the_classes(self, localizer: ort.InferenceSession) -> None:
        corners = np.asarray(
            onnx.numpy_helper.to_array(
                next(t for t in plain_model(box=True).graph.initializer if t.name == "corner_weights")
            )
        ).reshape(4, MAPS, *SIZE_HW)
        for coordinate in range(4):
            gradient = run(localizer, "gradients/late", feeds(2, [CLASSES + coordinate], [True]))
            np.testing.assert_allclose(gradient, np.stack([corners[coordinate]] * 2), rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("target", [[CLASSES], [0, CLASSES], [10**6]])
    def test_out_of_range_fails(self, classifier: ort.InferenceSession, target: list[int]) -> None:
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            classifier.run(["gradients/late"], feeds(2, target, [True]))

    @pytest.mark.parametrize("target", [[CLASSES + 4], [0, CLASSES + 4]])
    def test_out_of_range_fails_behind_the_box(self, localizer: ort.InferenceSession, target: list[int]) -> None:
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            localizer.run(["gradients/late"], feeds(2, target, [True]))

    @pytest.mark.parametrize("targets", [[4, 0], [3, -1, 1], [0] * 7])
    def test_one_image_may_have_several(self, classifier: ort.InferenceSession, targets: list[int]) -> None:
        best = run(classifier, "logits", feeds(1)).argmax()
        features, gradient = classifier.run(["features/late", "gradients/late"], feeds(1, targets, [True]))
        assert len(features) == 1
        expected = WEIGHTS[[best if target < 0 else target for target in targets]] / POSITIONS
        np.testing.assert_allclose(gradient, np.broadcast_to(expected[..., None, None], gradient.shape), rtol=1e-5)

    @pytest.mark.parametrize(("count", "targets"), [(3, 2), (3, 4), (2, 0), (1, 0)])
    def test_any_other_number_fails(self, classifier: ort.InferenceSession, count: int, targets: int) -> None:
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            classifier.run(["gradients/late"], feeds(count, [0] * targets, [True]))


class TestOutputs:
    def test_cam_weights_are_the_linear_layers(self, classifier: ort.InferenceSession) -> None:
        np.testing.assert_array_equal(run(classifier, "cam_weights", feeds(1, [0], [True])), WEIGHTS)

    def test_no_cam_weights_without_the_pooled_layer(self, source: Path, tmp_path: Path) -> None:
        report = instrument(source, tmp_path / "out.onnx", layers=["early"])
        outputs = [value.name for value in open_session(tmp_path / "out.onnx").get_outputs()]
        assert "cam_weights" not in outputs
        assert report.cam == CamVerdict()
        assert str(report.cam) == "no: the pooled layer is not one of the chosen layers"
        assert report.spec.outputs.cam_weights is None

    def test_a_softmax_file_gets_its_logits(self, source: Path, tmp_path: Path) -> None:
        report = instrument(save(plain_model(softmax=True), tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        model = open_session(tmp_path / "out.onnx")
        assert (report.spec.outputs.logits, report.spec.outputs.scores) == ("logits", "scores")
        assert model.get_outputs()[0].name == "scores"
        expected = run(open_session(source), "logits", feeds(2))
        np.testing.assert_allclose(run(model, "logits", feeds(2)), expected, rtol=1e-5, atol=1e-6)
        gradient = run(model, "gradients/late", feeds(2, [1], [True]))
        np.testing.assert_allclose(gradient[0, :, 0, 0], WEIGHTS[1] / POSITIONS, rtol=1e-5)


class TestFile:
    def test_metadata_tell_all(self, tmp_path: Path) -> None:
        labels = ["zero", "one", "zwei", "три", "4"]
        preprocessing = Preprocessing("bgr", 0.5, (1, 2, 3), (4, 5, 6), "letterbox")
        report = instrument(
            save(plain_model(box=True), tmp_path / "plain.onnx"),
            tmp_path / "out.onnx",
            layers=LAYERS,
            box="box",
            box_format="xyxy",
            box_units="pixels",
            labels=labels,
            preprocessing=preprocessing,
        )
        text = open_session(tmp_path / "out.onnx").get_modelmeta().custom_metadata_map[METADATA_KEY]
        spec = ModelSpec.from_json(text)
        assert spec == report.spec
        assert spec.task == "localization"
        assert (spec.input.name, spec.input.layout, spec.input.size_hw) == ("image", "nchw", SIZE_HW)
        assert (spec.input.preprocessing, spec.input.assumed) == (preprocessing, False)
        assert (spec.outputs.logits, spec.outputs.scores, spec.outputs.box) == ("logits", None, "box")
        assert (spec.outputs.cam_weights, spec.outputs.cam_layer) == ("cam_weights", "late")
        assert spec.box == BoxSpec("xyxy", "pixels")
        assert spec.labels == tuple(labels)
        assert [(layer.name, layer.channels, layer.size_hw) for layer in spec.layers] == [
            ("early", 4, SIZE_HW),
            ("late", MAPS, SIZE_HW),
        ]
        assert spec.layers[1].features == "features/late" and spec.layers[1].gradients == "gradients/late"

    @pytest.mark.parametrize(("box", "resize"), [(None, "crop"), ("box", "stretch")])
    def test_preprocessing_nobody_stated_is_assumed_imagenets(
        self, box: str | None, resize: str, tmp_path: Path
    ) -> None:
        source = save(plain_model(box=box is not None), tmp_path / "plain.onnx")
        spec = instrument(source, tmp_path / "out.onnx", box=box).spec
        assert spec.input.assumed
        assert spec.input.preprocessing.mean == PRESETS["imagenet"].mean
        assert spec.input.preprocessing.resize == resize

    @pytest.mark.parametrize(
        ("opset", "ir_version", "listed"), [(9, 3, True), (13, 7, False), (18, 10, True), (20, 10, False)]
    )
    def test_old_files_are_raised_and_new_ones_kept(
        self, opset: int, ir_version: int, listed: bool, tmp_path: Path
    ) -> None:
        plain = plain_model(softmax=True, opset=opset, ir_version=ir_version, listed_initializers=listed)
        instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        written = onnx.load(tmp_path / "out.onnx")
        onnx.checker.check_model(written, full_check=True)
        assert written.opset_import[0].version == max(opset, 18)
        assert written.ir_version >= 10
        assert [value.name for value in written.graph.input] == ["image", "target", "explain"]

    def test_no_traces_of_whoever_exported_the_model(self, tmp_path: Path) -> None:
        plain, secret = plain_model(), "somebody/secret/train.py"
        plain.graph.doc_string = secret
        for step in plain.graph.node:
            step.doc_string = secret
            step.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=secret)
        plain.graph.metadata_props.add(key="path", value=secret)
        instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        assert b"secret" not in (tmp_path / "out.onnx").read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "out.onnx").read_bytes()

    def test_metadata_that_a_program_may_read_are_kept(self, tmp_path: Path) -> None:
        plain = plain_model()
        plain.metadata_props.add(key="names", value="cat,dog")
        instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        metadata = open_session(tmp_path / "out.onnx").get_modelmeta().custom_metadata_map
        assert metadata["names"] == "cat,dog"
        assert set(metadata) == {"names", METADATA_KEY}

    def test_it_is_readable_by_all_and_beside_its_tail_alone(self, source: Path, tmp_path: Path) -> None:
        report = instrument(source, tmp_path / "out.onnx")
        assert report.path == tmp_path / "out.onnx"
        assert sorted(tmp_path.iterdir()) == [report.path, tmp_path / "out.tail.onnx"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}

    def test_writing_is_deterministic(self, source: Path, tmp_path: Path) -> None:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            instrument(source, tmp_path / folder / "out.onnx", layers=LAYERS)
        for name in ("out.onnx", "out.tail.onnx"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


class TestNames:
    @pytest.mark.parametrize("name", ["target", "explain", "logits", "cam_weights", "features/late", "gradients/late"])
    @pytest.mark.parametrize("inner", ["conv2", "kernel1"])
    def test_inner_values_may_bear_names_of_the_contract(self, name: str, inner: str, tmp_path: Path) -> None:
        plain = plain_model(softmax=True, renamed={"logits": "before_softmax", inner: name})
        instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx", layers=["late"])
        model = open_session(tmp_path / "out.onnx")
        gradient = run(model, "gradients/late", feeds(2, [1], [True]))
        np.testing.assert_allclose(gradient[0, :, 0, 0], WEIGHTS[1] / POSITIONS, rtol=1e-5)
        expected = run(session(plain_model()), "logits", feeds(2))
        np.testing.assert_allclose(run(model, "logits", feeds(2)), expected, rtol=1e-5, atol=1e-6)

    def test_a_softmax_output_named_logits_keeps_its_name(self, tmp_path: Path) -> None:
        plain = plain_model(softmax=True, renamed={"logits": "before_softmax", "scores": "logits"})
        spec = instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx").spec
        assert spec.outputs.scores == "logits"
        model = open_session(tmp_path / "out.onnx")
        np.testing.assert_allclose(run(model, "logits", feeds(2)).sum(1), 1, rtol=1e-5)
        assert spec.outputs.logits is not None
        expected = run(session(plain_model()), "logits", feeds(2))
        np.testing.assert_allclose(run(model, spec.outputs.logits, feeds(2)), expected, rtol=1e-5, atol=1e-6)

    def test_a_layer_that_is_an_output_keeps_it(self, tmp_path: Path) -> None:
        late = onnx.helper.make_tensor_value_info("late", onnx.TensorProto.FLOAT, ["batch", MAPS, *SIZE_HW])
        instrument(save(plain_model(more_outputs=[late]), tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        model = open_session(tmp_path / "out.onnx")
        assert [value.name for value in model.get_outputs()][:2] == ["logits", "late"]
        np.testing.assert_array_equal(run(model, "late", feeds(2)), run(model, "features/late", feeds(2)))


def doubled(operator: str) -> dict[str, object]:
    def wrong(at: Site, g: object) -> Gradients:
        return RULES[operator](at, at.branch.Mul(g, 2.0))

    return {**RULES, operator: wrong}


class TestNothingIsWrittenWhenACheckFails:
    @pytest.mark.parametrize("existing", [None, b"an older file"])
    @pytest.mark.parametrize("operator", ["GlobalAveragePool", "Relu", "Conv"])
    def test_wrong_rule(
        self, operator: str, existing: bytes | None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if existing is not None:
            (tmp_path / "out.onnx").write_bytes(existing)
        monkeypatch.setattr(rules, "RULES", doubled(operator))
        with pytest.raises(VerificationError, match=r"gradient agrees with finite differences.* 'early'"):
            instrument(source, tmp_path / "out.onnx", layers=["early"])
        left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert left == ({} if existing is None else {"out.onnx": existing})

    def test_wrong_beginning(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seed_source = seeds.seed_source
        monkeypatch.setattr(seeds, "seed_source", lambda branch, *rest: branch.Mul(seed_source(branch, *rest), 2.0))
        with pytest.raises(VerificationError, match=r"gradient agrees with finite differences.* 'early'"):
            instrument(source, tmp_path / "out.onnx", layers=["early"])
        assert not list(tmp_path.iterdir())

    def test_a_write_that_is_interrupted_leaves_nothing(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(self: Path, target: Path) -> Path:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            instrument(source, tmp_path / "out.onnx")
        assert not list(tmp_path.iterdir())
