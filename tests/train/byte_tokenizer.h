#pragma once
// A tokenizer whose ids are bytes: token of byte b is b, but for a few merged words from 256 on and
// the special tokens <s> 300, <|im_start|> 301, <|im_end|> 302 (the end token). And ChatML.

#include <string>

#include "core/text.h"
#include "formats/template/chat_format.h"
#include "formats/tokenizer/tokenizer.h"
#include "tests/core/scratch.h"
#include "tests/formats/bpe_json.h"

namespace lancet::test {

inline constexpr TokenId kStart = 301, kEnd = 302;

/// GPT-2's printable stand-in for a byte.
inline std::string stand_in(int byte) {
  static const std::vector<std::string> table = [] {
    std::vector<std::string> out(256);
    int extra = 0;
    for (int b = 0; b < 256; ++b) {
      const bool keep = (b >= 0x21 && b < 0x7F) || (b >= 0xA1 && b < 0xAD) || b >= 0xAE;
      append_utf8(out[static_cast<std::size_t>(b)],
                  static_cast<char32_t>(keep ? b : 0x100 + extra++));
    }
    return out;
  }();
  return table[static_cast<std::size_t>(byte)];
}

inline Tokenizer byte_tokenizer() {
  Json vocab = Json::object(), merges = Json::array(), added = Json::array();
  for (int b = 0; b < 256; ++b) vocab[stand_in(b)] = b;
  int next = 256;
  const auto merge = [&](const std::string& left, const std::string& right) {
    merges.push_back({left, right});
    vocab[left + right] = next++;
  };
  merge("y", "e");              // 256
  merge("ye", "s");             // 257
  merge("n", "o");              // 258
  merge(stand_in(' '), "yes");  // 259
  int id = 300;
  for (const char* name : {"<s>", "<|im_start|>", "<|im_end|>"}) {
    added.push_back(special_token(static_cast<std::size_t>(id), name));
    vocab[name] = id++;
  }
  const Scratch folder;
  write_file(folder / "tokenizer.json", byte_level_json(vocab, merges, added).dump());
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  return Tokenizer::open(folder.path());
}

inline constexpr const char* kChatMl =
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

inline std::optional<ChatFormat> chat_ml() {
  return std::optional<ChatFormat>(std::in_place, kChatMl, Json::object());
}

}  // namespace lancet::test
