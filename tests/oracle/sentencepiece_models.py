"""Small SentencePiece models, one for each trait of the published ones."""
import io

import sentencepiece

import nasty_strings

TRAITS = {
    "llama2_like": dict(model_type="bpe", vocab_size=900, byte_fallback=True, normalization_rule_name="identity",
                        remove_extra_whitespaces=False, split_digits=True, character_coverage=0.99),
    "gemma_like": dict(model_type="bpe", vocab_size=900, byte_fallback=True, normalization_rule_name="identity",
                       remove_extra_whitespaces=False, add_dummy_prefix=False, control_symbols=["<mask>"],
                       user_defined_symbols=["<start_of_turn>", "▁▁", "▁▁▁", "\n\n", "<div>"], character_coverage=0.99),
    "bpe_nfkc": dict(model_type="bpe", vocab_size=700, normalization_rule_name="nmt_nfkc"),
    "unigram_nfkc": dict(model_type="unigram", vocab_size=500, normalization_rule_name="nmt_nfkc",
                         user_defined_symbols=["<sep>", "the"]),
    "unigram_cf_bytes": dict(model_type="unigram", vocab_size=600, normalization_rule_name="nmt_nfkc_cf", byte_fallback=True,
                             character_coverage=0.98),
    "unigram_identity": dict(model_type="unigram", vocab_size=400, normalization_rule_name="identity", add_dummy_prefix=False,
                             remove_extra_whitespaces=False),
    "suffix": dict(model_type="unigram", vocab_size=400, treat_whitespace_as_suffix=True)}


def train(**options):
    sentences = nasty_strings.WORDS * 30 + nasty_strings.CODE * 30 + nasty_strings.strings(seed=1)[:150]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s.replace("\n", " ") for s in sentences if "\0" not in s]), model_writer=model,
        hard_vocab_limit=False, minloglevel=2, **options)
    return model.getvalue()


def plain_texts(library, options):
    """Nasty strings without control tokens, which SentencePiece reads as text and transformers as tokens."""
    control = [library.id_to_piece(i) for i in range(library.vocab_size()) if library.is_control(i) or library.is_unknown(i)]
    return [t for t in nasty_strings.strings(options.get("user_defined_symbols", [])) if not any(c in t for c in control)]
