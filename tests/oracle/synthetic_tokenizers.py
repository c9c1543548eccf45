"""tokenizer.json descriptions that use each piece of the `tokenizers` library, trained on the nasty strings."""
import base64
import io
import json

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

import nasty_strings

def corpus(nasty=900):
    return nasty_strings.WORDS * 3 + nasty_strings.CODE * 3 + nasty_strings.strings(seed=1)[:nasty]


def charsmap():
    """The nmt_nfkc charsmap of SentencePiece, which most Unigram tokenizers carry."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e f g"] * 9), model_writer=model,
                                             vocab_size=12, hard_vocab_limit=False, minloglevel=2,
                                             normalization_rule_name="nmt_nfkc")
    from sentencepiece import sentencepiece_model_pb2
    return base64.b64encode(sentencepiece_model_pb2.ModelProto.FromString(
        model.getvalue()).normalizer_spec.precompiled_charsmap).decode()


def train(pre=None, norm=None, dec=None, post=None, added=(), size=500, alphabet=(), special=(), edit=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if norm:
        tokenizer.normalizer = norm
    if pre:
        tokenizer.pre_tokenizer = pre
    affixes = {k: v for k, v in model.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=list(alphabet), limit_alphabet=256 if alphabet else 120, **affixes)
    tokenizer.train_from_iterator(corpus(), trainer)
    if dec:
        tokenizer.decoder = dec
    if post:
        tokenizer.post_processor = post
    tokenizer.add_tokens(list(added))
    description = json.loads(tokenizer.to_str())
    if edit:
        edit(description)
    return description


def legacy_merges(description):
    description["model"]["merges"] = [f"{a} {b}" for a, b in description["model"]["merges"]]


def trained(model, trainer, pre=None, norm=None, dec=None, post=None, added=(), edit=None, nasty=900):
    tokenizer = Tokenizer(model)
    if norm:
        tokenizer.normalizer = norm
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator(corpus(nasty), trainer)
    if dec:
        tokenizer.decoder = dec
    if post:
        tokenizer.post_processor = post
    tokenizer.add_tokens(list(added))
    description = json.loads(tokenizer.to_str())
    if edit:
        edit(description)
    return description


def unigram(size=500, special=("<s>", "</s>", "<unk>"), **parts):
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=list(special), unk_token="<unk>", show_progress=False,
                                      shrinking_factor=0.6, n_sub_iterations=1)
    return trained(models.Unigram(), trainer, nasty=150, **parts)


def with_bytes(description):
    """Adds the 256 byte tokens of byte_fallback."""
    model = description["model"]
    model["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
    model["byte_fallback"] = True


def word_piece(size=700, special=("[UNK]", "[CLS]", "[SEP]", "[MASK]"), **parts):
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(special), show_progress=False, limit_alphabet=200)
    return trained(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20), trainer, **parts)


def word_level(**parts):
    trainer = trainers.WordLevelTrainer(vocab_size=900, special_tokens=["<unk>", "<pad>"], show_progress=False)
    return trained(models.WordLevel(unk_token="<unk>"), trainer, **parts)


def unigram_tokenizers():
    sequence = pre_tokenizers.Sequence
    metaspace = pre_tokenizers.Metaspace("▁", "always", True)
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    eos = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])

    def precompiled(steps=("Precompiled",)):
        def edit(description):
            normal = {"type": "Precompiled", "precompiled_charsmap": charsmap()}
            blanks = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
            albert = [{"type": "Replace", "pattern": {"String": "``"}, "content": '"'}, {"type": "NFKD"},
                      {"type": "StripAccents"}, {"type": "Lowercase"}]
            strip = {"type": "Strip", "strip_left": False, "strip_right": True}
            lists = {"plain": [normal, blanks], "albert": albert + [normal], "strip": [normal, strip, blanks]}
            description["normalizer"] = {"type": "Sequence", "normalizers": lists[steps]}
        return edit

    return {
        "unigram_t5": unigram(pre=sequence([pre_tokenizers.WhitespaceSplit(), metaspace]), dec=decoders.Metaspace("▁", "always"),
                              post=eos, edit=precompiled("plain")),
        "unigram_xlmr": unigram(pre=metaspace, dec=decoders.Metaspace("▁", "always"), edit=precompiled("strip"),
                                added=[AddedToken("<mask>", lstrip=True, special=True)],
                                post=processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>",
                                                                   [("<s>", 0), ("</s>", 1)])),
        "unigram_albert": unigram(pre=metaspace, dec=decoders.Metaspace("▁", "always"), edit=precompiled("albert")),
        "unigram_whole": unigram(pre=pre_tokenizers.Metaspace("▁", "first", False), norm=spaces,
                                 dec=decoders.Metaspace("▁", "first"), size=800),
        "unigram_bytes": unigram(pre=metaspace, norm=normalizers.Nmt(), edit=with_bytes,
                                 dec=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                                        decoders.Strip(" ", 1, 0)])),
        "unigram_plain": unigram(size=400)}


def word_tokenizers():
    bert = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    words = pre_tokenizers.BertPreTokenizer()
    return {
        "bert_uncased": word_piece(pre=words, norm=normalizers.BertNormalizer(), dec=decoders.WordPiece(), post=bert),
        "bert_cased": word_piece(pre=words, norm=normalizers.BertNormalizer(lowercase=False), dec=decoders.WordPiece(cleanup=False),
                                 post=processors.TemplateProcessing("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                                                                    [("[CLS]", 1), ("[SEP]", 2)])),
        "bert_accents": word_piece(pre=words, norm=normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False,
                                                                              strip_accents=True, lowercase=False)),
        "bert_plain": word_piece(pre=words, norm=normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True,
                                                                            strip_accents=False, lowercase=True),
                                 added=[AddedToken("[X]", special=True, lstrip=True), AddedToken("the", single_word=True)]),
        "accents": word_level(pre=pre_tokenizers.Whitespace(), norm=normalizers.Sequence([normalizers.NFD(),
                                                                                          normalizers.StripAccents()])),
        "strip_marks": word_level(pre=pre_tokenizers.WhitespaceSplit(), norm=normalizers.StripAccents()),
        "scripts": word_level(pre=pre_tokenizers.UnicodeScripts(), dec=decoders.Fuse()),
        "script_bytes": word_level(pre=pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts(), pre_tokenizers.Digits(False),
                                                                pre_tokenizers.Punctuation("contiguous")])),
        "delimiter": word_level(pre=pre_tokenizers.CharDelimiterSplit("e"), norm=normalizers.Lowercase()),
        "fixed_length": word_level(pre=pre_tokenizers.FixedLength(3), dec=decoders.Fuse()),
        "ctc": word_level(pre=pre_tokenizers.Split("", "isolated"), dec=decoders.CTC("<pad>", "|", True)),
        "ctc_raw": word_level(pre=pre_tokenizers.Split("", "isolated"), dec=decoders.CTC("a", "|", False)),
        **{f"punctuation_{behavior}": word_level(pre=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                                              pre_tokenizers.Punctuation(behavior)]),
                                                 dec=decoders.WordPiece("@", False))
           for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")}}


def families():
    """Shapes of published byte-level and SentencePiece-like BPE tokenizers."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    level = pre_tokenizers.ByteLevel
    sequence = pre_tokenizers.Sequence
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    deepseek = sequence([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"),
                         split(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                               r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), level(False, use_regex=False)])
    kimi = split(r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
                 r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    o200k = split(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                  r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                  r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    qwen35 = split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|"
                   r"\s+(?!\S)|\s+")
    bloom = split(r" ?[^(\s|[.,!?…。，、।۔،])]+")
    byte = {"dec": decoders.ByteLevel(), "alphabet": alphabet, "size": 600}
    fallback = [f"<0x{b:02X}>" for b in range(256)]
    neox = [AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)] + [AddedToken("<|endoftext|>", special=True)]
    gemma = train(sequence([pre_tokenizers.Split(" ", "merged_with_previous")]), norm=normalizers.Replace(" ", "▁"), size=900,
                  dec=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
                  unk_token="<unk>", fuse_unk=True, byte_fallback=True, special=["<pad>", "<eos>", "<bos>", "<unk>"] + fallback,
                  added=[AddedToken("\n\n", normalized=False), AddedToken("▁▁", normalized=False),
                         AddedToken("<start_of_turn>", special=True)])
    whisper = train(level(add_prefix_space=False), added=[AddedToken(f"<|{t:.2f}|>") for t in (0.0, 0.02, 29.98)], **byte)
    return {"deepseek": train(deepseek, **byte), "kimi": train(sequence([kimi, level(False, use_regex=False)]), **byte),
            "o200k": train(sequence([o200k, level(False, use_regex=False)]), **byte),
            "qwen35": train(sequence([qwen35, level(False, use_regex=False)]), norm=normalizers.NFC(), **byte),
            "bloom": train(sequence([bloom, level(False, use_regex=False)]), **byte),
            "neox": train(level(False), norm=normalizers.NFC(), added=neox, **byte), "gemma": gemma, "whisper": whisper}


def synthetic():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    level = pre_tokenizers.ByteLevel
    sequence = pre_tokenizers.Sequence
    fallback = [f"<0x{b:02X}>" for b in range(256)]
    spm_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    flags = [AddedToken("@@", lstrip=True), AddedToken("##", rstrip=True), AddedToken("[both]", lstrip=True, rstrip=True),
             AddedToken("word", single_word=True), AddedToken("Norm", normalized=True),
             AddedToken("NormÉ", normalized=True, single_word=True), AddedToken("<s>", special=True),
             AddedToken("</s>", special=True), AddedToken("</s><s>", special=True), AddedToken("  ", normalized=False),
             AddedToken("東", normalized=False)]
    out = {"prefix_space": train(level(add_prefix_space=True), dec=decoders.ByteLevel(), alphabet=alphabet,
                                 special=["<s>", "</s>"],
                                 post=processors.RobertaProcessing(("</s>", 1), ("<s>", 0))),
           "materialized": train(sequence([level(add_prefix_space=False), pre_tokenizers.Digits(False)]),
                                 dec=decoders.ByteLevel(), alphabet=alphabet, edit=legacy_merges),
           "byte_normalizer": train(norm=normalizers.ByteLevel(), dec=decoders.ByteLevel(), alphabet=alphabet),
           "missing_bytes": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), unk_token="<unk>",
                                  special=["<unk>"]),
           "missing_bytes_fused": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), unk_token="<unk>",
                                        fuse_unk=True, special=["<unk>"]),
           "added": train(level(add_prefix_space=False), norm=normalizers.Sequence([normalizers.NFC(),
                          normalizers.Lowercase()]), dec=decoders.ByteLevel(), alphabet=alphabet, added=flags),
           "added_plain": train(pre_tokenizers.WhitespaceSplit(), added=flags, unk_token="?", special=["?"]),
           "template": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), alphabet=alphabet,
                             special=["<s>", "</s>", "<x>"],
                             post=processors.Sequence([processors.ByteLevel(trim_offsets=True),
                                                       processors.TemplateProcessing(
                                                           "<s> $A </s> <x>", "<s> $A </s> $B",
                                                           [("<s>", 0), ("</s>", 1), ("<x>", 2)])])),
           "spm_old": train(norm=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
                            dec=spm_decoder, unk_token="<unk>", fuse_unk=True, byte_fallback=True,
                            special=["<unk>"] + fallback, size=800),
           "spm_partial": train(pre_tokenizers.Metaspace("▁", "first", True), dec=decoders.Metaspace("▁", "first", True),
                                unk_token="<unk>", byte_fallback=True, special=["<unk>"] + fallback[:0xC8], size=700),
           "metaspace_always": train(pre_tokenizers.Metaspace("▁", "always", False),
                                     dec=decoders.Metaspace("▁", "always", False), unk_token="<unk>", special=["<unk>"],
                                     added=[AddedToken("<s>", special=True)]),
           "metaspace_never": train(pre_tokenizers.Metaspace("_", "never", True),
                                    dec=decoders.Metaspace("_", "never", True)),
           "metaspace_first": train(pre_tokenizers.Metaspace("▁", "first", False), dec=spm_decoder, fuse_unk=True,
                                    unk_token="<unk>", special=["<unk>"], added=[AddedToken("<s>", special=True)]),
           "subword_prefix": train(pre_tokenizers.Whitespace(), norm=normalizers.NFKC(), unk_token="<unk>",
                                   special=["<unk>"], continuing_subword_prefix="##"),
           "word_suffix": train(sequence([pre_tokenizers.WhitespaceSplit(), level(False, use_regex=False)]),
                                dec=decoders.BPEDecoder("</w>"), end_of_word_suffix="</w>", alphabet=alphabet),
           "nfd": train(level(add_prefix_space=False), norm=normalizers.NFD(), dec=decoders.ByteLevel(), alphabet=alphabet),
           "nfkd": train(level(add_prefix_space=False), norm=normalizers.NFKD(), dec=decoders.ByteLevel(),
                         alphabet=alphabet),
           "nfkc_strip": train(level(add_prefix_space=False), alphabet=alphabet, dec=decoders.ByteLevel(),
                               norm=normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(),
                                                          normalizers.Replace(Regex(r"\s{2,}|\p{Nd}+"), "_")])),
           "no_decoder": train(pre_tokenizers.WhitespaceSplit())}
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            split = pre_tokenizers.Split(Regex(r"\s|\d+|(?<=a)b|[^\w\s]"), behavior, invert)
            out[f"split_{behavior}{'_inverted' if invert else ''}"] = train(
                sequence([split, level(False, use_regex=False)]), dec=decoders.ByteLevel(), alphabet=alphabet, size=400)
    out["split_string"] = train(sequence([pre_tokenizers.Split(".", "removed"), pre_tokenizers.Split("  ", "isolated"),
                                          pre_tokenizers.Split("the", "merged_with_next"), level(False)]),
                                dec=decoders.ByteLevel(), alphabet=alphabet)
    out["split_empty"] = train(sequence([pre_tokenizers.Split(Regex("x*|(?=a)"), "contiguous"), level(False)]),
                               dec=decoders.ByteLevel(), alphabet=alphabet)
    tekken = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
              r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
              r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    out["tekken"] = train(sequence([pre_tokenizers.Split(Regex(tekken), "isolated"), level(False, use_regex=False)]),
                          dec=decoders.ByteLevel(), alphabet=alphabet, ignore_merges=True, size=900)
    out["words"] = train(sequence([pre_tokenizers.Split(Regex(r"\w+|\W|\h+"), "removed", True), level(False)]),
                         dec=decoders.ByteLevel(), alphabet=alphabet)
    return {**out, **unigram_tokenizers(), **word_tokenizers(), **families()}
