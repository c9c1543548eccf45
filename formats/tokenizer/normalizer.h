#pragma once
// Normalizers of tokenizer.json: Sequence, NFC, NFD, NFKC, NFKD, Nmt, Precompiled (charsmap.h),
// BertNormalizer, StripAccents, Lowercase, Prepend, Replace, Strip, ByteLevel.

#include <memory>

#include "formats/tokenizer/segment.h"
#include "formats/tokenizer/where.h"

namespace lancet {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// The segment itself where nothing changes; a changed text lives in `arena`. Every byte of it
  /// carries the range of the input that it stands for (an inserted one the empty range where it
  /// was put).
  [[nodiscard]] virtual Segment apply(const Segment& segment, TextArena& arena) const = 0;
};

/// Null for JSON null. Error(kInput) for a broken description, kMismatch for another type, by name.
[[nodiscard]] std::unique_ptr<Normalizer> make_normalizer(const Json& description,
                                                          const Where& where);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// unicode_normalizer.cpp: the Unicode normal forms, as far as the library's (Unicode 12) data know
/// them.
[[nodiscard]] std::unique_ptr<Normalizer> unicode_normalizer(NormalForm form);

/// character_normalizer.cpp: rules for one character at a time.
enum class CharacterRule {
  kNmt,             ///< removes controls, makes other white space blanks
  kClean,           ///< clean_text of BertNormalizer: the same with other characters
  kStripAccents,    ///< removes combining marks
  kStripBertMarks,  ///< removes nonspacing marks, as BertNormalizer does after NFD
};
[[nodiscard]] std::unique_ptr<Normalizer> character_normalizer(CharacterRule rule);
/// handle_chinese_chars of BertNormalizer: ideographs become words.
[[nodiscard]] std::unique_ptr<Normalizer> chinese_spacer();

}  // namespace lancet
