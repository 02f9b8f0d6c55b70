"""The smallest model of most of timm's modules, by their names, and timm itself where torch is the CPU's alone."""

import sys
from pathlib import Path

import torch

# `make` puts timm and torchvision there, out of the way of transformers, which uses any torchvision that it finds
FOLDER = Path(__file__).parents[1] / ".venv-frameworks" / "timm"

NAMES = [
    "beit_base_patch16_224",
    "halonet_h1",
    "test_byobnet",
    "cait_xxs24_224",
    "coat_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "test_convnext",
    "cpubone_nano",
    "crossvit_tiny_240",
    "csatv2",
    "cs3darknet_focus_s",
    "cspnext_tiny",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "densenet121",
    "dla46x_c",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "mnasnet_small",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "ghostnet_050",
    "hardcorenas_b",
    "hgnetv2_b0",
    "hiera_tiny_224",
    "sam2_hiera_tiny",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "inception_v3",
    "inception_v4",
    "lcnetv2_small",
    "levit_128s",
    "lowformer_b0",
    "test_mambaout",
    "test_maxvit",
    "test_coatnet",
    "poolformer_s12",
    "gmlp_ti16_224",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "mvitv2_tiny",
    "nest_tiny",
    "nextvit_small",
    "test_nfnet",
    "pit_ti_224",
    "pvt_v2_b0",
    "rdnet_tiny",
    "regnetx_002",
    "repghostnet_050",
    "repvit_m1",
    "res2next50",
    "resnest14d",
    "resnet10t",
    "resnetv2_18",
    "rexnet_100",
    "selecsls42",
    "legacy_seresnet18",
    "sequencer2d_s",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "swinv2_cr_tiny_224",
    "tiny_vit_5m_224",
    "tnt_s_patch16_224",
    "tresnet_m",
    "twins_svt_small",
    "visformer_tiny",
    "test_vit",
    "vit_tiny_r_s16_p8_224",
    "test_vit_relpos",
    "vitamin_small_224",
    "volo_d1_224",
    "ese_vovnet19b_slim_dw",
    "legacy_xception",
    "xception41p",
    "xcit_nano_12_p8_224",
]


def timm():
    """timm, imported: its own or that of `FOLDER`.

    torchvision's wheel loads its operators where torch is built for CUDA alone, and asks for two of them when it is
    imported. Models need none, so their names are enough.
    """
    import transformers.utils

    transformers.utils.is_torchvision_available()  # remembered: whatever is imported next, it is not looked for again
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    if not hasattr(timm, "library"):
        timm.library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                timm.library.define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    import timm as module

    return module


# names of the tensors that no recipe makes
LITERAL = [
    "*.pos_proj.weight",  # distances between pixels
    "*.transform.weights",  # cosines
]

# those whose smallest one is large
SMALLER = {
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 96, "num_heads": 4},
    "vitamin_small_224": {"num_classes": 10},
}


def build(name):
    return timm().create_model(name, **SMALLER.get(name, {}))
