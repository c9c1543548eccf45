#pragma once
// SentencePiece's own normalization, all in one pass: charsmap, extra blanks, dummy prefix, blanks
// as U+2581.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/normalizer.h"

namespace lancet {

struct SentencePieceRules {
  std::optional<Charsmap> charsmap;
  std::vector<std::string> user_defined;  ///< texts that the charsmap leaves alone
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_is_suffix = false;
};

[[nodiscard]] std::unique_ptr<Normalizer> sentencepiece_normalizer(SentencePieceRules rules);

}  // namespace lancet
