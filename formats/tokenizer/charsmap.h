#pragma once
// SentencePiece's precompiled normalization: a Darts double array from byte sequences to texts
// (Kudo & Richardson 2018, arXiv:1808.06226; layout of Yata's darts-clone).

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/normalizer.h"

namespace lancet {

class Charsmap {
 public:
  /// `blob`: u32 bytes of the array, the array, texts that each end in NUL. Error(kInput) for a
  /// blob that is cut short or whose texts are not UTF-8.
  Charsmap(std::string_view blob, const Where& where);

  /// The text of the shortest key that `text` begins with: the library takes that one.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view text) const noexcept;
  /// The text of the longest key that `text` begins with, and the key's length: SentencePiece
  /// itself.
  [[nodiscard]] std::optional<std::pair<std::size_t, std::string_view>> find_longest(
      std::string_view text) const noexcept;

 private:
  [[nodiscard]] std::string_view text_at(std::uint32_t offset) const noexcept;
  template <typename Found>
  void keys(std::string_view text, Found&& found) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

/// "Precompiled" of tokenizer.json, its charsmap in base64. As the library: each grapheme cluster
/// of less than six bytes is looked up whole, then each of its characters.
[[nodiscard]] std::unique_ptr<Normalizer> precompiled_normalizer(const Json& description,
                                                                 const Where& where);

}  // namespace lancet
