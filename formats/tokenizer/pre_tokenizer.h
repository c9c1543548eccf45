#pragma once
// Pre-tokenizers of tokenizer.json: ByteLevel, Split, Digits, Metaspace, Whitespace,
// WhitespaceSplit, Sequence.

#include <memory>
#include <vector>

#include "formats/tokenizer/segment.h"
#include "formats/tokenizer/where.h"

namespace lancet {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Hands the pieces of `segment` to `sink` in order, none of them empty. Changed texts live in
  /// `arena`.
  virtual void apply(const Segment& segment, TextArena& arena, SegmentSink sink) const = 0;
};

/// The stages of a pre-tokenizer, sequences flattened: each applied to every piece of the one
/// before.
class PreTokenizers {
 public:
  /// With `raw_bytes`, a ByteLevel that comes last leaves the bytes as they are instead of spelling
  /// them in its alphabet, and raw_bytes() is true: the model then works on bytes. JSON null gives
  /// no stages.
  PreTokenizers(const Json& description, const Where& where, bool raw_bytes);

  void apply(const Segment& segment, TextArena& arena, SegmentSink sink) const;
  [[nodiscard]] bool raw_bytes() const noexcept { return raw_bytes_; }

 private:
  void apply_from(std::size_t stage, const Segment& segment, TextArena& arena,
                  SegmentSink sink) const;

  std::vector<std::unique_ptr<PreTokenizer>> stages_;
  bool raw_bytes_ = false;
};

}  // namespace lancet
