"""More than a hundred of transformers' model classes at tiny sizes, made from their configurations alone."""

import transformers

# ---- sizes that many configurations share ----------------------------------------------------------------------

TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DECODER = TEXT | {"num_key_value_heads": 2, "head_dim": 8}
EXPERTS = DECODER | {
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
}
GPT = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
BART = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
AUDIO = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16, 16],
    "conv_kernel": [4, 4],
    "conv_stride": [2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
MAMBA = {"vocab_size": 96, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}


def backbone(*stages):
    return {"backbone": None, "backbone_config": {"model_type": "resnet", "out_features": list(stages), **RESNET}}


# ---- one line each: the class, and what its configuration is made from -----------------------------------------

CLASSES = {
    # decoders
    "LlamaForCausalLM": DECODER,
    "MistralForCausalLM": DECODER,
    "Qwen2ForCausalLM": DECODER,
    "Qwen3ForCausalLM": DECODER,
    "GemmaForCausalLM": DECODER,
    "Gemma2ForCausalLM": DECODER,
    "Gemma3ForCausalLM": DECODER,
    "Phi3ForCausalLM": DECODER,
    "Olmo2ForCausalLM": DECODER,
    "CohereForCausalLM": DECODER,
    "StableLmForCausalLM": DECODER,
    "FalconForCausalLM": TEXT,
    "GPTNeoXForCausalLM": DECODER,
    "GPT2LMHeadModel": GPT,
    "GPTJForCausalLM": GPT | {"rotary_dim": 4},
    "GPTNeoForCausalLM": TEXT | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "BloomForCausalLM": {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "OPTForCausalLM": TEXT | {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "ReformerModelWithLMHead": TEXT
    | {
        "attention_head_size": 8,
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "feed_forward_size": 64,
        "attn_layers": ["local", "lsh"],
        "is_decoder": True,
    },
    "DecisionTransformerModel": GPT | {"hidden_size": 32, "state_dim": 5, "act_dim": 3, "max_ep_len": 64},
    # mixtures of experts
    "MixtralForCausalLM": EXPERTS,
    "Qwen2MoeForCausalLM": EXPERTS,
    "Qwen3MoeForCausalLM": EXPERTS,
    "GptOssForCausalLM": EXPERTS,
    "GraniteMoeForCausalLM": EXPERTS,
    "JetMoeForCausalLM": EXPERTS | {"kv_channels": 8},
    "PhimoeForCausalLM": EXPERTS,
    "Llama4ForCausalLM": EXPERTS | {"intermediate_size_mlp": 64},
    "DeepseekV3ForCausalLM": EXPERTS
    | {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "DbrxForCausalLM": {
        "vocab_size": 96,
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "SwitchTransformersForConditionalGeneration": T5
    | {"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
    # state spaces, recurrences, and what mixes them with attention
    "MambaForCausalLM": MAMBA,
    "FalconMambaForCausalLM": MAMBA,
    "Mamba2ForCausalLM": MAMBA | {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2},
    "JambaForCausalLM": EXPERTS
    | {
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "ZambaForCausalLM": DECODER
    | {
        "num_hidden_layers": 5,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "n_mamba_heads": 2,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "use_mamba_kernels": False,
    },
    "Zamba2ForCausalLM": DECODER
    | {
        "layers_block_type": ["mamba", "hybrid"],
        "num_mem_blocks": 1,
        "mamba_d_state": 4,
        "n_mamba_heads": 2,
        "mamba_ngroups": 1,
        "use_mamba_kernels": False,
    },
    "BambaForCausalLM": DECODER | MAMBA2 | {"attn_layer_indices": [1]},
    "FalconH1ForCausalLM": DECODER | MAMBA2 | {"mamba_d_ssm": 64},
    "GraniteMoeHybridForCausalLM": EXPERTS
    | MAMBA2
    | {
        "layer_types": ["mamba", "attention"],
        "layers_block_type": ["mamba", "attention"],
        "shared_intermediate_size": 32,
    },
    "NemotronHForCausalLM": EXPERTS
    | {
        "layers_block_type": ["mamba", "moe", "attention"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 2,
        "moe_shared_expert_intermediate_size": 32,
    },
    "Qwen3NextForCausalLM": EXPERTS
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "OlmoHybridForCausalLM": DECODER,
    "Lfm2ForCausalLM": DECODER | {"layer_types": ["conv", "full_attention"]},
    "RecurrentGemmaForCausalLM": DECODER | {"lru_width": 32, "attention_window_size": 16},
    "RwkvForCausalLM": TEXT | {"attention_hidden_size": 32},
    "xLSTMForCausalLM": TEXT | {"num_heads": 2, "qk_dim_factor": 0.5, "v_dim_factor": 1.0},
    # encoders
    "BertForPreTraining": TEXT,
    "RobertaForMaskedLM": TEXT,
    "DistilBertForMaskedLM": TEXT
    | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "sinusoidal_pos_embds": True},
    "AlbertForPreTraining": TEXT | {"embedding_size": 16},
    "ElectraForPreTraining": TEXT | {"embedding_size": 16},
    "DebertaForMaskedLM": TEXT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "DebertaV2ForMaskedLM": TEXT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3},
    "ModernBertForMaskedLM": TEXT,
    "MPNetForMaskedLM": TEXT,
    "FNetForMaskedLM": TEXT,
    "XLNetLMHeadModel": {"vocab_size": 96, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
    "LongformerForMaskedLM": TEXT | {"attention_window": 8},
    "BigBirdForMaskedLM": TEXT,
    "FunnelForPreTraining": {
        "vocab_size": 96,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
        "d_inner": 64,
    },
    "PerceiverForMaskedLM": TEXT
    | {
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 32,
        "num_blocks": 1,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "PatchTSTForPretraining": TEXT
    | {"d_model": 32, "ffn_dim": 64, "context_length": 32, "patch_length": 4, "patch_stride": 4},
    # encoders with decoders
    "T5ForConditionalGeneration": T5,
    "MT5ForConditionalGeneration": T5,
    "BartForConditionalGeneration": BART,
    "MBartForConditionalGeneration": BART,
    "PegasusForConditionalGeneration": BART,
    "MarianMTModel": BART | {"decoder_vocab_size": 96},
    "BlenderbotForConditionalGeneration": BART,
    "M2M100ForConditionalGeneration": BART,
    "ProphetNetForConditionalGeneration": {
        "vocab_size": 96,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "hidden_size": 32,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
    },
    "TimeSeriesTransformerForPrediction": BART | {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2]},
    # pictures
    "ViTForImageClassification": VISION,
    "DeiTForImageClassificationWithTeacher": VISION,
    "BeitForImageClassification": VISION | {"use_relative_position_bias": True},
    "Dinov2ForImageClassification": VISION,
    "ViTMAEForPreTraining": VISION
    | {
        "decoder_hidden_size": 32,
        "decoder_intermediate_size": 64,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 4,
    },
    "SwinForImageClassification": SWIN,
    "Swinv2ForImageClassification": SWIN,
    "ConvNextForImageClassification": {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2},
    "ResNetForImageClassification": RESNET,
    "RegNetForImageClassification": RESNET | {"groups_width": 8},
    "MobileViTForImageClassification": {
        "image_size": 32,
        "hidden_sizes": [24, 32, 40],
        "neck_hidden_sizes": [8, 16, 16, 24, 24, 32, 64],
    },
    "SegformerForSemanticSegmentation": {
        "num_encoder_blocks": 2,
        "depths": [1, 1],
        "sr_ratios": [2, 1],
        "hidden_sizes": [16, 32],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "num_attention_heads": [1, 2],
        "mlp_ratios": [2, 2],
        "decoder_hidden_size": 32,
    },
    "HieraForImageClassification": {
        "image_size": [32, 32],
        "embed_dim": 16,
        "depths": [1, 1, 1],
        "num_heads": [1, 2, 4],
        "masked_unit_size": [4, 4],
        "num_query_pool": 2,
    },
    "PoolFormerForImageClassification": {
        "hidden_sizes": [16, 32],
        "depths": [1, 1],
        "num_encoder_blocks": 2,
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "padding": [2, 1],
    },
    # pictures and what is in them
    "DetrForObjectDetection": BART | {"num_queries": 8} | backbone("stage2"),
    "DeformableDetrForObjectDetection": BART
    | {"num_queries": 8, "num_feature_levels": 2}
    | backbone("stage1", "stage2"),
    "YolosForObjectDetection": VISION | {"image_size": [32, 32], "num_detection_tokens": 8},
    "Mask2FormerForUniversalSegmentation": {
        "backbone": None,
        "backbone_config": SWIN
        | {
            "model_type": "swin",
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "num_attention_heads": 4,
        "dim_feedforward": 64,
        "num_queries": 8,
    },
    "SamModel": {
        "vision_config": VISION
        | {"output_channels": 16, "num_pos_feats": 8, "mlp_dim": 64, "window_size": 2, "global_attn_indexes": [1]},
        "prompt_encoder_config": {"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    },
    # pictures and text
    "CLIPModel": {"text_config": TEXT, "vision_config": VISION, "projection_dim": 16},
    "SiglipModel": {"text_config": TEXT, "vision_config": VISION},
    "BlipForConditionalGeneration": {"text_config": TEXT, "vision_config": VISION},
    "LlavaForConditionalGeneration": {
        "text_config": {"model_type": "llama", **DECODER},
        "vision_config": {"model_type": "clip_vision_model", **VISION},
    },
    "PaliGemmaForConditionalGeneration": {
        "text_config": {"model_type": "gemma", **DECODER},
        "vision_config": {"model_type": "siglip_vision_model", **VISION},
        "projection_dim": 32,
    },
    "Idefics3ForConditionalGeneration": {
        "text_config": {"model_type": "llama", **DECODER},
        "vision_config": VISION,
    },
    "Qwen2VLForConditionalGeneration": {
        "text_config": DECODER
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}},
        "vision_config": {
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
        },
    },
    # sound
    "WhisperForConditionalGeneration": BART
    | {"num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 32},
    "Wav2Vec2ForPreTraining": AUDIO
    | {"codevector_dim": 16, "proj_codevector_dim": 16, "num_codevectors_per_group": 16},
    "HubertForCTC": AUDIO,
    "WavLMForCTC": AUDIO,
    "ASTForAudioClassification": VISION | {"max_length": 64, "num_mel_bins": 32},
    "SpeechT5ForTextToSpeech": AUDIO
    | BART
    | {
        "max_speech_positions": 64,
        "max_text_positions": 64,
        "speech_decoder_prenet_units": 32,
        "speech_decoder_postnet_units": 32,
        "speaker_embedding_dim": 32,
    },
    "EncodecModel": {
        "hidden_size": 16,
        "num_filters": 4,
        "codebook_size": 32,
        "codebook_dim": 16,
        "num_lstm_layers": 1,
        "upsampling_ratios": [4, 2],
    },
    "VitsModel": {
        "vocab_size": 38,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "flow_size": 32,
        "spectrogram_bins": 17,
        "upsample_initial_channel": 16,
        "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "prior_encoder_num_wavenet_layers": 1,
        "posterior_encoder_num_wavenet_layers": 2,
        "num_speakers": 2,
        "speaker_embedding_size": 8,
    },
    "ClapModel": {
        "text_config": TEXT,
        "audio_config": {
            "patch_embeds_hidden_size": 16,
            "hidden_size": 32,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "num_hidden_layers": 2,
            "spec_size": 64,
            "patch_size": 4,
            "patch_stride": [4, 4],
            "window_size": 4,
            "num_mel_bins": 16,
        },
        "projection_dim": 16,
    },
}

# what `make test-frameworks` tries, at least one of each kind above; `make test-frameworks-full` tries all
USUAL = [
    "LlamaForCausalLM",
    "GPT2LMHeadModel",
    "GPTNeoXForCausalLM",
    "Gemma3ForCausalLM",
    "MixtralForCausalLM",
    "DeepseekV3ForCausalLM",
    "MambaForCausalLM",
    "Mamba2ForCausalLM",
    "JambaForCausalLM",
    "BertForPreTraining",
    "DebertaV2ForMaskedLM",
    "T5ForConditionalGeneration",
    "MarianMTModel",
    "BeitForImageClassification",
    "Swinv2ForImageClassification",
    "Mask2FormerForUniversalSegmentation",
    "CLIPModel",
    "WhisperForConditionalGeneration",
    "Wav2Vec2ForPreTraining",
    "EncodecModel",
]


# names of the tensors that no recipe makes, and what they hold
LITERAL = [
    "*.A_log",  # logarithms of 1, 2, ...
    *("*.dt_proj.bias", "*.dt_proj_bias", "*.dt_bias"),  # inverse softplus of log-uniform steps
    *("*.recurrent_param", "*.time_decay", "*.time_mix_*", "*.fgate_preact.bias"),  # powers, logarithms, ramps
    *("*.position_embeddings.weight", "*.position_enc", "*.embed_positions.weight"),  # sines and cosines
    "*.sampling_offsets.bias",  # points around a circle
    "*.parametrizations.weight.original0",  # norms of weights
]

# configurations that are not complete without an argument, or ask for timm
NEED_A_SIZE = {
    "ReformerModelWithLMHead",
    "DbrxForCausalLM",
    "TimeSeriesTransformerForPrediction",
    "DetrForObjectDetection",
    "DeformableDetrForObjectDetection",
}


def build(name, **options):
    """The model of this class, initialised as transformers does it where no checkpoint is loaded."""
    kind = getattr(transformers, name)
    return kind(kind.config_class(**CLASSES[name] | options))
