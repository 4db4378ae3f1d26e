"""The two files of fastai's pretrained AWD-LSTM in their form, small."""

import io

import torch
from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, get_language_model

SMALL = {"emb_sz": 8, "n_hid": 12, "n_layers": 3}
WORDS = "a b c d e f g h i j k l".split()
MARKS = "xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj".split()
VOCABULARY = [*MARKS, *WORDS[::-1], "z"]


def state_of_fastai(vocabulary, sizes, old):
    """Weights as fastai saved its own; old versions kept a second copy of each dropped-out matrix."""
    state = get_language_model(AWD_LSTM, len(vocabulary), config=awd_lstm_lm_config | sizes).state_dict()
    if not old:
        return state
    more = {}
    for key, value in state.items():
        more[key] = value
        if key.endswith("weight_hh_l0_raw"):
            more[key.replace("weight_hh_l0_raw", "module.weight_hh_l0")] = value.clone()
    return more


def saved(value):
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
