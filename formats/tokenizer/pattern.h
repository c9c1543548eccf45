#pragma once
// What a text is split on (a literal, a regular expression, a kind of character) and what happens
// to the matches.

#include <memory>
#include <string>
#include <string_view>

#include "formats/tokenizer/regex.h"
#include "formats/tokenizer/scanners.h"
#include "formats/tokenizer/where.h"

namespace lancet {

class Pattern {
 public:
  virtual ~Pattern() = default;
  /// Calls `sink` for consecutive pieces that cover `text`: matches, and what lies between them.
  virtual void split(std::string_view text, SpanSink sink) const = 0;
};

/// {"String": s} is literal, {"Regex": r} a regular expression; known ones get their scanner.
[[nodiscard]] std::unique_ptr<Pattern> make_pattern(const Json& pattern, const Where& where);
[[nodiscard]] std::unique_ptr<Pattern> literal_pattern(std::string literal);
/// Each code point whose class has one of `bits` (CharClass) is a match.
[[nodiscard]] std::unique_ptr<Pattern> class_pattern(std::uint8_t bits);
[[nodiscard]] std::unique_ptr<Pattern> scanner_pattern(ScanFunction scan);

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// "Removed", "Isolated", ... of tokenizer.json.
[[nodiscard]] Behavior parse_behavior(std::string_view name, const Where& where);

/// Pieces of `text` that remain, in order, none empty. `invert` exchanges matches and what lies
/// between.
void split_text(const Pattern& pattern, Behavior behavior, bool invert, std::string_view text,
                FunctionRef<void(std::size_t begin, std::size_t end)> sink);

}  // namespace lancet
