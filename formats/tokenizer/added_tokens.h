#pragma once
// Added tokens: literals that are cut out of the text before (or, with `normalized`, after)
// normalization and never reach the model. Semantics of the `tokenizers` library, its id assignment
// included.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/segment.h"
#include "formats/tokenizer/token_matcher.h"
#include "formats/tokenizer/vocabulary.h"
#include "formats/tokenizer/where.h"

namespace lancet {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  ///< no word character may touch it
  bool lstrip = false;       ///< takes white space on its left
  bool rstrip = false;       ///< takes white space on its right
  bool normalized = false;   ///< looked for, normalized, in the normalized text
  bool special = false;
  std::string decoded;  ///< what it decodes to: the content, normalized where it is looked for so
  bool skipped =
      false;  ///< left out by decode(skip_special): `decoded` is a special token's content
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(AddedTokens&&) = default;  // never copied: the tables view the contents
  AddedTokens& operator=(AddedTokens&&) = default;
  /// `list`: tokenizer.json's added_tokens. Each takes the id of its content in the vocabulary,
  /// else the next free one; the ids in the file (null: none) are compared, a difference is a
  /// warning.
  /// Error(kInput): two tokens with one content or one declared id.
  AddedTokens(const Json& list, const Where& where, const Vocabulary& vocabulary,
              const Normalizer* normalizer);

  /// Cuts `segment` at the tokens that are looked for before normalization.
  void split_raw(const Segment& segment, FunctionRef<void(const Segment&)> text,
                 FunctionRef<void(const AddedToken&, ByteSpan)> token) const {
    split(raw_, segment, text, token);
  }
  /// The same after normalization.
  void split_normalized(const Segment& segment, FunctionRef<void(const Segment&)> text,
                        FunctionRef<void(const AddedToken&, ByteSpan)> token) const {
    split(normalized_, segment, text, token);
  }

  [[nodiscard]] const AddedToken* find(TokenId id) const noexcept;
  [[nodiscard]] const AddedToken* find(std::string_view content) const noexcept;
  [[nodiscard]] TokenId max_id() const noexcept { return max_id_; }  ///< -1 when empty

 private:
  struct Matcher {
    TokenMatcher literals;
    std::vector<std::uint32_t> tokens;  ///< of each literal
  };

  void read(const Json& list, const Where& where, const Vocabulary& vocabulary);
  void normalize(const Normalizer* normalizer);
  [[nodiscard]] Matcher make_matcher(bool normalized) const;
  void split(const Matcher& matcher, const Segment& segment, FunctionRef<void(const Segment&)> text,
             FunctionRef<void(const AddedToken&, ByteSpan)> token) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string_view, std::uint32_t> by_content_;
  std::unordered_map<TokenId, std::uint32_t> by_id_;
  Matcher raw_;
  Matcher normalized_;
  TokenId max_id_ = -1;
};

}  // namespace lancet
