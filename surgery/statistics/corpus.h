#pragma once
// Text in groups of documents, always cut at the same places: collecting stops and resumes between
// groups.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

class Corpus {
 public:
  virtual ~Corpus() = default;
  /// The next documents, at least one; none at the end.
  [[nodiscard]] virtual std::vector<std::string> next() = 0;
  /// Passes over what the next call would give.
  virtual void skip() = 0;
  /// What moves a digit of the result: hashes of files, or how the text is made.
  [[nodiscard]] virtual Json identity() const = 0;
};

/// Files one after the other: "text" of each line of a .jsonl, else documents between empty lines,
/// without the line breaks around them; empty ones are left out. kInput "FILE:LINE: ..." for a line
/// that is no such record.
[[nodiscard]] std::unique_ptr<Corpus> text_corpus(const std::vector<fs::path>& files);

/// The model writes on from short openings, at temperature 1, documents of 128 tokens, without end.
/// Both must outlive the corpus.
[[nodiscard]] std::unique_ptr<Corpus> own_corpus(const Decoder& model, const Tokenizer& tokenizer,
                                                 std::uint64_t seed);

}  // namespace lancet
