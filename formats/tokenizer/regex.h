#pragma once
// Regular expressions of a tokenizer.json, in Oniguruma's dialect, run by PCRE2 (JIT) under limits.
//
// Translated (regex_translate.cpp): \s \S \w \W \h \H become explicit classes with Oniguruma's
// members (PCRE2's \s has U+180E, its \w lacks marks); classes in classes and intersections become
// alternatives and assertions. General categories follow our own table (shadow_for_regex).

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "formats/tokenizer/function_ref.h"
#include "formats/tokenizer/where.h"

namespace lancet {

/// Receives [begin, end) of a piece and whether it is a match of the pattern.
using SpanSink = FunctionRef<void(std::size_t begin, std::size_t end, bool match)>;

class Regex {
 public:
  /// Error(kInput) for a pattern that does not compile or is longer than 64 KiB.
  Regex(std::string_view pattern, const Where& where);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls `sink` for every piece of `text` (valid UTF-8), matches and what lies between, in order;
  /// an empty match right after another match is skipped, as the library does. Thread-safe.
  /// Error(kInput) when a match exceeds the step or memory limit, or all of them together 5 s and 2
  /// s more per MB.
  void split(std::string_view text, SpanSink sink) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string where_;
};

/// Does PCRE2 know a script of this name?
[[nodiscard]] bool is_script(std::string_view name);

/// The pattern as PCRE2 reads it; exposed for tests.
[[nodiscard]] std::string translate_pattern(std::string_view pattern, const Where& where);

}  // namespace lancet
