#include "formats/tokenizer/character_tables.h"

#include <algorithm>
#include <span>

namespace lancet {
namespace {

struct CodePointRange {
  std::uint32_t first;
  std::uint32_t last;
};
struct ScriptRun {
  std::uint32_t begin;
  std::uint8_t script;
};

#include "formats/tokenizer/character_ranges.inc"

std::span<const CodePointRange> ranges_of(CharTrait trait) noexcept {
  switch (trait) {
    case CharTrait::kPunctuation:
      return kPunctuation;
    case CharTrait::kBertRemoved:
      return kBertRemoved;
    case CharTrait::kBertMark:
      return kBertMarks;
    case CharTrait::kCombining:
      return kCombining;
    case CharTrait::kExtending:
      return kExtending;
  }
  return {};
}

}  // namespace

bool has_trait(char32_t code_point, CharTrait trait) noexcept {
  const auto ranges = ranges_of(trait);
  const auto found = std::ranges::lower_bound(ranges, code_point, {}, &CodePointRange::last);
  return found != ranges.end() && found->first <= code_point;
}

void for_each_with(CharTrait trait, FunctionRef<void(char32_t)> each) {
  for (const CodePointRange& range : ranges_of(trait)) {
    for (std::uint32_t c = range.first; c <= range.last; ++c) each(c);
  }
}

std::uint8_t script_of(char32_t code_point) noexcept {
  const auto after = std::ranges::upper_bound(kScriptRuns, code_point, {}, &ScriptRun::begin);
  return after == std::begin(kScriptRuns) ? std::uint8_t{0} : std::prev(after)->script;
}

}  // namespace lancet
