#pragma once
// Pre-tokenizers of tokenizer.json: ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace,
// WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, UnicodeScripts, FixedLength, Sequence.

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

/// word_splitters.cpp: cuts at a change of character.
[[nodiscard]] std::unique_ptr<PreTokenizer> whitespace_words();
[[nodiscard]] std::unique_ptr<PreTokenizer> bert_words();
[[nodiscard]] std::unique_ptr<PreTokenizer> script_runs();
[[nodiscard]] std::unique_ptr<PreTokenizer> fixed_length(std::size_t characters);

/// The stages of a pre-tokenizer, sequences flattened: each applied to every piece of the one
/// before.
class PreTokenizers {
 public:
  /// With `raw_bytes`, a ByteLevel that comes last leaves the bytes as they are instead of spelling
  /// them in its alphabet, and raw_bytes() is true: the model then works on bytes. JSON null gives
  /// no stages.
  PreTokenizers(const Json& description, const Where& where, bool raw_bytes);
  PreTokenizers() = default;  ///< no stages

  void apply(const Segment& segment, TextArena& arena, SegmentSink sink) const;
  [[nodiscard]] bool raw_bytes() const noexcept { return raw_bytes_; }

 private:
  void apply_from(std::size_t stage, const Segment& segment, TextArena& arena,
                  SegmentSink sink) const;

  std::vector<std::unique_ptr<PreTokenizer>> stages_;
  bool raw_bytes_ = false;
};

}  // namespace lancet
