"""A BERT small enough for tests of the TensorFlow modules."""

from utils.bert_tf import Config

SMALL = Config(
    vocab_size=50,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=40,
)
