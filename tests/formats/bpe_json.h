#pragma once
// tokenizer.json of a BPE tokenizer, for tests.

#include <cstddef>
#include <string>

#include "core/json.h"

namespace lancet::test {

inline Json special_token(std::size_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

/// Without normalizer, pre-tokenizer and decoder.
inline Json bpe_json(const Json& vocab, const Json& merges, const Json& added) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

/// The same over the bytes of words.
inline Json byte_level_json(const Json& vocab, const Json& merges, const Json& added) {
  Json out = bpe_json(vocab, merges, added);
  out["pre_tokenizer"] = out["decoder"] = {{"type", "ByteLevel"},
                                           {"add_prefix_space", false},
                                           {"trim_offsets", true},
                                           {"use_regex", true}};
  return out;
}

}  // namespace lancet::test
