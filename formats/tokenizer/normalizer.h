#pragma once
// Normalizers of tokenizer.json: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace,
// Strip, ByteLevel.

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

}  // namespace lancet
