"""The table of providers, how one is asked for, and what ONNX Runtime is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.explainers.masked import mask_chain
from onnxplain.machine.provider_choice import ProviderChoice, choose_providers, device_number
from onnxplain.machine.providers import BY_FULL_NAME, CPU, CUDA, PROVIDERS
from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.session import open_session
from tests.models import write_classifier

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
DML, TENSORRT, OPENVINO = (PROVIDERS[name].full_name for name in ("directml", "tensorrt", "openvino"))
BUILT_IN = [TENSORRT, CUDA, DML, OPENVINO, CPU]


def installed(module: str) -> bool:
    return module == "onnxruntime_qnn"


def test_every_row_is_on_the_page_and_says_whether_it_was_tried() -> None:
    lines = {line.split("`")[1]: line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"}
    assert list(lines) == list(PROVIDERS)
    assert len(BY_FULL_NAME) == len(PROVIDERS)
    for name, row in PROVIDERS.items():
        tried = lines[name].split("|")[4]
        assert ("not tried" in tried) == (not row.tried) or name == "openvino", name
        assert not row.cache or f"{name}" in PAGE.read_text(encoding="utf-8").partition("`library=")[0]
        assert not row.plug_in or "plug-in" in lines[name]
        assert bool(row.device_option or row.plug_in) == bool(lines[name].split("|")[3].strip())
        assert all(kind in lines[name].split("|")[3] for kind in row.kinds)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("cuda", ProviderChoice(CUDA)),
        ("CUDAExecutionProvider:2", ProviderChoice(CUDA, "2")),
        ("directml", ProviderChoice(DML)),
        ("dml:1", ProviderChoice(DML, "1")),
        ("openvino:GPU.1,num_streams=2", ProviderChoice(OPENVINO, "GPU.1", {"num_streams": "2"})),
        ("cuda:1,use_tf32=0, a=b=c", ProviderChoice(CUDA, "1", {"use_tf32": "0", "a": "b=c"})),
        ("qnn", ProviderChoice("QNNExecutionProvider", "htp", plug_in=True)),
        ("qnn:gpu", ProviderChoice("QNNExecutionProvider", "gpu", plug_in=True)),
        ("MyProvider:NPU,library=a/b.so", ProviderChoice("MyProvider", "NPU", plug_in=True, library="a/b.so")),
        ("mlx,library=m.dylib", ProviderChoice("MLXExecutionProvider", plug_in=True, library="m.dylib")),
    ],
)
def test_how_a_provider_is_asked_for(text: str, chosen: ProviderChoice) -> None:
    assert choose_providers(text, BUILT_IN, installed) == [chosen]


def test_a_cache_is_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    (choice,) = choose_providers(f"tensorrt:1,trt_fp16_enable=1,cache={folder}", BUILT_IN, installed)
    assert folder.is_dir()
    assert choice.configured() == (
        TENSORRT,
        {
            "device_id": "1",
            "trt_fp16_enable": "1",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
        },
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tensorrt-rtx", r"found 'tensorrt-rtx', expected one .*\(cpu, .*qnn.*\): run pip install onnxruntime-ep-nv"),
        ("xnnpack", r"found 'xnnpack', expected one .*: build ONNX Runtime with --use_xnnpack"),
        ("nonsense", r"found 'nonsense', expected one that this ONNX Runtime has \([a-z, -]*\)$"),
        ("cuda:first", r"found 'cuda:first', expected a number such as 0 behind the colon"),
        ("cuda:", r"found 'cuda:', expected a number"),
        ("openvino:", r"found 'openvino:', expected a name such as GPU"),
        ("cpu:1", r"found 'cpu:1', expected no device"),
        ("cpu,foo=1", r"found 'cpu,foo=1', expected cpu alone"),
        ("cuda,fast", r"found 'cuda,fast', expected NAME:DEVICE,OPTION=VALUE"),
        ("cuda,=1", r"expected NAME:DEVICE,OPTION=VALUE"),
        ("cuda,cache=there", r"found 'cuda,cache=there', expected no cache: only tensorrt, openvino, coreml,"),
        (["cuda:0", "cuda:1", "cpu"], r"found cuda, cuda, cpu, expected each of them once"),
        ("", r"found '', expected one that"),
    ],
)
def test_what_is_refused(asked: str, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        choose_providers(asked, BUILT_IN, installed)


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OnnxplainError, match=r"found the cache .*, expected a folder to write into"):
        choose_providers(f"tensorrt,cache={tmp_path / 'file'}", BUILT_IN, installed)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """The options and providers of each session; all run on the CPU."""
    sessions: list[tuple[object, object]] = []
    session_class = onnxruntime.InferenceSession

    class Session(session_class):
        def __init__(self, source: object, options: object, providers: list[object], **_: object) -> None:
            self.asked = [provider if isinstance(provider, str) else provider[0] for provider in providers]
            sessions.append((options, providers))
            super().__init__(source, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return self.asked

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: BUILT_IN)
    return sessions


@pytest.mark.parametrize(
    ("asked", "providers", "pattern"),
    [
        (["cuda:1", "cpu"], [(CUDA, {"device_id": "1"}), CPU], True),
        (["cuda", "cpu"], [CUDA, CPU], True),
        (["directml:1", "cpu"], [(DML, {"device_id": "1"}), CPU], False),
        (
            ["openvino:GPU"],
            [
                (
                    OPENVINO,
                    {"device_type": "GPU", "load_config": '{"GPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
                )
            ],
            True,
        ),
    ],
)
def test_what_onnx_runtime_is_told(told, tmp_path: Path, asked, providers, pattern) -> None:
    Engine(write_classifier(tmp_path / "model.onnx"), asked)
    options, found = told[-1]
    assert found == providers
    assert options.enable_mem_pattern == pattern


def test_masked_copies_are_made_on_the_same_device(told, tmp_path: Path) -> None:
    engine = Engine(write_classifier(tmp_path / "model.onnx"), ["tensorrt:3", "cuda:3", "cpu"])
    assert engine.device_number == 3
    mask_chain._open_graph(engine, next(mask_chain._GRAPHS.glob("float32.onnx")), "cuda")
    assert told[-1][1] == [(CUDA, {"device_id": "3"}), CPU]


@pytest.mark.parametrize(
    ("asked", "number"), [(None, 0), ("cuda:2", 2), (["cuda:2,use_tf32=0", "cpu"], 2), (["openvino:GPU.1"], 0), ([], 0)]
)
def test_the_number_of_the_device(asked, number: int) -> None:
    assert device_number(asked) == number


@pytest.mark.parametrize(("provider", "advice"), [("tensorrt", "; for tensorrt, write it with instrument --no-gate")])
def test_a_file_that_a_provider_refuses(monkeypatch, told, tmp_path: Path, provider: str, advice: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("TensorRT EP could not build engine")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(ModelError, match=rf"could not build engine.*check the model{advice}$"):
        Engine(write_classifier(tmp_path / "model.onnx"), [provider, "cpu"])


def test_plug_ins_stand_alone(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(OnnxplainError, match=r"found cuda beside a plug-in, expected plug-ins and cpu only"):
        open_session(write_classifier(tmp_path / "model.onnx"), ["cuda", "Mine,library=mine.so"], None)


def test_a_library_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.so").write_text("no library")
    with pytest.raises(OnnxplainError, match=r"^provider: found a library of mine that cannot be loaded [^\n]*$"):
        open_session(write_classifier(tmp_path / "model.onnx"), [f"Mine,library={tmp_path / 'mine.so'}"], None)


class FakeDevice(SimpleNamespace):
    """A device as ONNX Runtime lists it."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(ep_name=name, device=SimpleNamespace(type=SimpleNamespace(name=kind)))


@pytest.mark.parametrize(
    ("asked", "index", "options"),
    [
        ("webgpu", 0, {}),
        ("webgpu:1", 1, {}),
        ("openvino:npu,a=b", 2, {"a": "b"}),
        ("qnn", 2, {"backend_type": "htp"}),
        ("qnn:gpu", 1, {"backend_type": "gpu"}),
    ],
)
def test_which_device_a_plug_in_gets(monkeypatch, asked: str, index: int, options: dict[str, str]) -> None:
    from onnxplain.machine import plug_ins

    (choice,) = choose_providers(asked, [CPU], bool)
    name = choice.full_name
    devices = [FakeDevice(name, kind) for kind in ("CPU", "GPU", "NPU")]
    registered, given = [], []
    module = SimpleNamespace(get_library_path=lambda: "here.so")
    monkeypatch.setattr(plug_ins, "_registered", set())
    monkeypatch.setattr(plug_ins, "import_module", lambda name: module)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: [FakeDevice(CPU, "CPU"), *devices])
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *entry: registered.append(entry))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*(entry[0] for entry in registered), CPU])
    session_options = SimpleNamespace(add_provider_for_devices=lambda *entry: given.append(entry))
    plug_ins.add_plug_ins(session_options, [choice, ProviderChoice(CPU)])
    plug_ins.add_plug_ins(session_options, [choice])
    assert registered == [(name, "here.so")], "once"
    assert [([devices.index(each) for each in entry[0]]) for entry in given] == [[index]] * 2
    if "openvino" not in asked:
        assert [entry[1] for entry in given] == [options] * 2
    assert plug_ins.built_in_providers() == (CPU,), "what ONNX Runtime lists after the registration is no build's"
    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    with pytest.raises(OnnxplainError, match=rf"found no device for {asked.partition(':')[0]} on this machine"):
        plug_ins.add_plug_ins(session_options, [choice])
