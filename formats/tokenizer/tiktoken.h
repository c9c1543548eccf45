#pragma once
// tiktoken rank files: "BASE64 RANK" lines, byte-level BPE without names for anything else. Which
// pattern splits the text and which special tokens follow the ranks is known for the published
// files by the number of their ranks.

#include <memory>
#include <string_view>

#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/where.h"

namespace lancet {

/// `config`: tokenizer_config.json (an object, may be empty); its added_tokens_decoder replaces the
/// special tokens. Error(kInput): a line that is no rank, a rank or bytes twice, a byte without a
/// rank.
[[nodiscard]] std::shared_ptr<Tokenizer::Impl> make_tiktoken(std::string_view text,
                                                             const Json& config,
                                                             const Where& where);

}  // namespace lancet
