"""ONNX Runtime's execution providers: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXECUTION_PROVIDER = "ExecutionProvider"
HOST = "cpu"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
FOLDER = "{folder}"


@dataclass(frozen=True)
class Provider:
    """What onnxplain knows of a provider.

    `name`: for `--provider`. `full_name`: ONNX Runtime's. `install`: the command that brings it. `tried`: with what,
    and on which hardware, onnxplain ran there; empty: nowhere, the row then says what the provider's documentation
    says. `plug_in`: the Python module of the package that brings it as a plug-in, for which `pip` installs `install`
    beside onnxruntime. `device_option`: the option that takes what follows the colon in ``cuda:1``; with `numbered` it
    is a number. `kinds`: what the device option names, and the type of hardware that runs it; `device`: its default.
    `cache`: the options that keep compiled graphs, with `FOLDER` where the folder stands.
    `session`: attributes that the session's options must have. `memory`: ONNX Runtime's name for the memory in which it
    computes. `forms`: options of `instrument` without which it may refuse an explainable file. `files`: what of such a
    file runs there.
    """

    name: str
    full_name: str
    install: str
    files: str
    tried: str = ""
    plug_in: str = ""
    device_option: str = ""
    numbered: bool = True
    device: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    cache: Mapping[str, str] = field(default_factory=dict)
    session: Mapping[str, bool] = field(default_factory=dict)
    memory: str = HOST
    forms: tuple[str, ...] = ()


_GPU = 'pip install "onnxplain[gpu]" in place of [cpu]'

PROVIDERS: Mapping[str, Provider] = {
    row.name: row
    for row in (
        Provider("cpu", CPU, 'pip install "onnxplain[cpu]"', "every file", "onnxruntime 1.31.1, x86-64"),
        Provider(
            "cuda",
            CUDA,
            _GPU,
            "every file; integer (QDQ) files partly on the CPU",
            device_option="device_id",
            memory="cuda",
        ),
        Provider(
            "tensorrt",
            "TensorrtExecutionProvider",
            _GPU,
            "from TensorRT 10.11 on every file whose If branches have one rank, as ours have; before, files without a "
            "gate; empty tensors are not verified",
            device_option="device_id",
            cache={
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": FOLDER,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": FOLDER,
            },
            memory="cuda",
            forms=("--no-gate",),
        ),
        Provider(
            "openvino",
            OPENVINO,
            "pip install onnxruntime-openvino in place of onnxruntime, or onnxruntime-ep-openvino beside it",
            "every file; the engine loads it without the defaults of its inputs, other programs need required inputs",
            "onnxruntime-openvino 1.24.1, x86-64 CPU; the plug-in lists no device on AMD processors",
            plug_in="onnxruntime_ep_openvino",
            device_option="device_type",
            numbered=False,
            cache={"cache_dir": FOLDER},
            forms=("--required-inputs",),
        ),
        Provider(
            "directml",
            "DmlExecutionProvider",
            "pip install onnxruntime-directml in place of onnxruntime, on Windows",
            "unknown; nodes that it lacks run on the CPU",
            device_option="device_id",
            session={"enable_mem_pattern": False},
        ),
        Provider(
            "coreml",
            "CoreMLExecutionProvider",
            'pip install "onnxplain[cpu]" on macOS, whose onnxruntime contains it',
            "unknown; nodes that it lacks run on the CPU, and so does an If",
            device_option="MLComputeUnits",
            numbered=False,
            cache={"ModelCacheDirectory": FOLDER},
            forms=("--no-gate",),
        ),
        Provider(
            "qnn",
            "QNNExecutionProvider",
            "pip install onnxruntime-qnn, on a machine with a Qualcomm processor",
            "of files with fixed sizes (`--batch fixed`) the network and a part of the gradients; the rest on the CPU",
            "onnxruntime-qnn 2.7.0 with its NPU simulator on x86-64 Linux; not on a Qualcomm processor",
            plug_in="onnxruntime_qnn",
            device_option="backend_type",
            numbered=False,
            device="htp",
            kinds={"htp": "NPU", "gpu": "GPU", "cpu": "CPU"},
            forms=("--no-gate", "--batch fixed"),
        ),
        Provider(
            "xnnpack",
            "XnnpackExecutionProvider",
            "build ONNX Runtime with --use_xnnpack (there is no wheel)",
            "unknown; nodes that it lacks run on the CPU",
        ),
        Provider(
            "webgpu",
            "WebGpuExecutionProvider",
            "pip install onnxruntime-ep-webgpu beside onnxruntime",
            "unknown; nodes that it lacks run on the CPU",
            plug_in="onnxruntime_ep_webgpu",
        ),
        Provider(
            "tensorrt-rtx",
            "NvTensorRTRTXExecutionProvider",
            "pip install onnxruntime-ep-nv-tensorrt-rtx beside onnxruntime",
            "unknown; it may need files without a gate",
            plug_in="onnxruntime_ep_nv_tensorrt_rtx",
            cache={"nv_runtime_cache_path": FOLDER},
            forms=("--no-gate",),
        ),
        Provider(
            "mlx",
            "MLXExecutionProvider",
            "pip install onnxruntime-ep-mlx beside onnxruntime, on a Mac with Apple silicon",
            "unknown; nodes that it lacks run on the CPU",
            plug_in="onnxruntime_ep_mlx",
        ),
    )
}
"""The table, by the name for `--provider`."""

BY_FULL_NAME: Mapping[str, Provider] = {row.full_name: row for row in PROVIDERS.values()}


def short_name(full_name: str) -> str:
    """The name for `--provider` of a provider that ONNX Runtime names so, in the table or not."""
    row = BY_FULL_NAME.get(full_name)
    return full_name.removesuffix(EXECUTION_PROVIDER).lower() if row is None else row.name
