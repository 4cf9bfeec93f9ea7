"""The networks: real ones, and shallow ones of the same parts that a day's work can afford.

All are randomly initialised. `last` names the part of the module, or the function, whose output is the last spatial
map, which is what the automatic layer has to find.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

CLASSES = 16
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Network:
    """A network of the table.

    `gated`: whether it has ReLUs or other gates, which leave its float32 gradients undefined here and there.
    """

    name: str
    build: Callable[[], nn.Module]
    last: str
    size_hw: tuple[int, int] = (64, 64)
    gated: bool = True


def build(network: Network) -> nn.Module:
    """The network in evaluation mode, the same at every call, none of its parts an identity.

    No part overwrites its input, so that the map before it can be compared. Batch normalizations get the statistics of
    what they see, then moved at random, so that activations neither vanish nor explode with depth. Heads that are
    initialised to zero are not left so.
    """
    torch.manual_seed(0)
    module = network.build()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0
        norm.train()
    for part in module.modules():
        if isinstance(part, nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=0.05)
        if not isinstance(part, nn.BatchNorm2d):
            part.training = False
        if hasattr(part, "inplace"):
            part.inplace = False
    with torch.no_grad():
        module(torch.randn(CALIBRATION_IMAGES, 3, *network.size_hw))
        for norm in norms:
            spread = torch.empty_like(norm.running_var)
            norm.running_mean += norm.running_var.sqrt() * nn.init.uniform_(spread, -0.3, 0.3)
            norm.running_var *= nn.init.uniform_(spread, 0.5, 2.0)
    return module.eval()


def _torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    """A network of torchvision by name; imported when it is built."""

    def make() -> nn.Module:
        from tests.networks.vision import get_model

        return get_model(name, weights=None, num_classes=CLASSES, **options)

    return make


def timm_network(name: str, **options: object) -> Callable[[], nn.Module]:
    """A network of timm by name."""

    def make() -> nn.Module:
        from tests.networks.vision import timm

        return timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)

    return make


def _vgg() -> nn.Module:
    from tests.networks.vision import vgg

    network = vgg.VGG(vgg.make_layers([8, "M", 16, "M", 32, 32, "M"]), init_weights=True)
    network.classifier = nn.Sequential(nn.Linear(32 * 49, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, CLASSES))
    return network


def _resnet(**options: int) -> nn.Module:
    from tests.networks.vision import resnet

    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, **options)


def _densenet() -> nn.Module:
    from tests.networks.vision import densenet

    return densenet.DenseNet(growth_rate=8, block_config=(2, 2, 2), num_init_features=8, num_classes=CLASSES)


def _mobilenet_v2() -> nn.Module:
    from tests.networks.vision import mobilenetv2

    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]
    return mobilenetv2.MobileNetV2(num_classes=CLASSES, inverted_residual_setting=setting)


def _mobilenet_v3() -> nn.Module:
    from tests.networks.vision import mobilenetv3

    row = functools.partial(mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    setting = [
        row(16, 3, 16, 16, True, "RE", 2),
        row(16, 3, 72, 24, False, "RE", 2),
        row(24, 5, 96, 40, True, "HS", 1),
    ]
    return mobilenetv3.MobileNetV3(setting, last_channel=64, num_classes=CLASSES)


def _efficientnet() -> nn.Module:
    from tests.networks.vision import efficientnet

    row = efficientnet.MBConvConfig
    setting = [row(1, 3, 1, 32, 16, 1), row(6, 3, 2, 16, 24, 2), row(6, 5, 2, 24, 40, 1)]
    return efficientnet.EfficientNet(setting, dropout=0.2, num_classes=CLASSES)


def _shufflenet() -> nn.Module:
    from tests.networks.vision import shufflenetv2

    return shufflenetv2.ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 128], num_classes=CLASSES)


def _regnet() -> nn.Module:
    from tests.networks.vision import regnet

    blocks = regnet.BlockParams([1, 2], [24, 56], [8, 8], [1.0, 1.0], [2, 2], se_ratio=0.25)
    return regnet.RegNet(blocks, num_classes=CLASSES)


def _convnext() -> nn.Module:
    from tests.networks.vision import convnext

    row = convnext.CNBlockConfig
    return convnext.ConvNeXt([row(24, 48, 1), row(48, 96, 1), row(96, None, 1)], num_classes=CLASSES)


def _vit() -> nn.Module:
    from tests.networks.vision import vision_transformer

    return vision_transformer.VisionTransformer(
        image_size=64, patch_size=8, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=CLASSES
    )


def _swin() -> nn.Module:
    from tests.networks.vision import swin_transformer

    return swin_transformer.SwinTransformer(
        [4, 4], embed_dim=24, depths=[2, 1], num_heads=[2, 4], window_size=[4, 4], num_classes=CLASSES
    )


SHALLOW = (
    Network("vgg", _vgg, "features.10"),
    Network("resnet", _resnet, "layer4"),
    Network("resnext", functools.partial(_resnet, groups=32, width_per_group=4), "layer4"),
    Network("densenet", _densenet, "relu"),
    Network("squeezenet", _torchvision("squeezenet1_1"), "features.12"),
    Network("mobilenet-v2", _mobilenet_v2, "features.5"),
    Network("mobilenet-v3", _mobilenet_v3, "features.4"),
    Network("efficientnet", _efficientnet, "features.4", gated=False),
    Network("shufflenet-v2", _shufflenet, "conv5"),
    Network("regnet", _regnet, "trunk_output"),
    Network("convnext", _convnext, "features.5", gated=False),
    Network("vit", _vit, "encoder.layers.encoder_layer_2.ln_1", gated=False),
    Network(
        "deit",
        timm_network("deit_tiny_distilled_patch16_224", img_size=(48, 80), depth=4),
        "blocks.3.norm1",
        (48, 80),
        gated=False,
    ),
    Network("swin", _swin, "norm", gated=False),
    Network(
        "swin of timm",
        timm_network(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(2, 1), num_heads=(2, 4), embed_dim=24
        ),
        "norm",
        gated=False,
    ),
)

WHOLE = (
    Network("VGG-16", _torchvision("vgg16"), "features.30", (224, 224)),
    Network("ResNet-50", _torchvision("resnet50"), "layer4", (224, 224)),
    Network("ResNeXt-50", _torchvision("resnext50_32x4d"), "layer4", (224, 224)),
    Network("DenseNet-121", _torchvision("densenet121"), "relu", (224, 224)),
    Network("SqueezeNet", _torchvision("squeezenet1_0"), "features.12", (224, 224)),
    Network(
        "GoogLeNet",
        _torchvision("googlenet", aux_logits=False, init_weights=False),
        "inception5b",
        (224, 224),
    ),
    Network(
        "Inception-v3",
        _torchvision("inception_v3", aux_logits=False, init_weights=False),
        "Mixed_7c",
        (299, 299),
    ),
    Network("MobileNetV2", _torchvision("mobilenet_v2"), "features.18", (224, 224)),
    Network("MobileNetV3", _torchvision("mobilenet_v3_large"), "features.16", (224, 224)),
    Network("EfficientNet-B0", _torchvision("efficientnet_b0"), "features.8", (224, 224), gated=False),
    Network("ShuffleNetV2", _torchvision("shufflenet_v2_x1_0"), "conv5", (224, 224)),
    Network("RegNetX", _torchvision("regnet_x_400mf"), "trunk_output", (224, 224)),
    Network("RegNetY", _torchvision("regnet_y_400mf"), "trunk_output", (224, 224)),
    Network("ConvNeXt-Tiny", _torchvision("convnext_tiny"), "features.7", (224, 224), gated=False),
    Network(
        "ViT-B/16",
        _torchvision("vit_b_16"),
        "encoder.layers.encoder_layer_11.ln_1",
        (224, 224),
        gated=False,
    ),
    Network(
        "ViT-S of timm", timm_network("vit_small_patch16_224", reg_tokens=4), "blocks.11.norm1", (224, 224), gated=False
    ),
    Network("DeiT-Ti", timm_network("deit_tiny_patch16_224"), "blocks.11.norm1", (224, 224), gated=False),
    Network(
        "DeiT-Ti distilled",
        timm_network("deit_tiny_distilled_patch16_224", img_size=(192, 256)),
        "blocks.11.norm1",
        (192, 256),
        gated=False,
    ),
    Network("Swin-T", _torchvision("swin_t"), "norm", (224, 224), gated=False),
    Network("SwinV2-T", _torchvision("swin_v2_t"), "norm", (256, 256), gated=False),
    Network("Swin-T of timm", timm_network("swin_tiny_patch4_window7_224"), "norm", (224, 224), gated=False),
)
