#include "formats/tokenizer/unicode.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>

#include <fmt/format.h>
#include <utf8proc.h>

#include "core/text.h"
#include "formats/tokenizer/character_tables.h"

namespace lancet {
namespace {

struct CategoryRun {
  std::uint32_t begin;
  Category category;
};
struct CodePointRange {
  std::uint32_t first;
  std::uint32_t last;
};
struct LowercaseEntry {
  std::uint32_t from;
  std::uint32_t first;
  std::uint32_t second;
};

namespace table {
using enum Category;
#include "formats/tokenizer/unicode_ranges.inc"
}  // namespace table

constexpr std::uint32_t kCodePoints = 0x110000;

std::uint8_t bits_of(Category category) {
  using enum Category;
  switch (category) {
    case kLu:
    case kLl:
    case kLt:
    case kLm:
    case kLo:
      return kLetter | kWord;
    case kMn:
    case kMc:
    case kMe:
    case kPc:
      return kWord;
    case kNd:
    case kNl:
      return kNumber | kNumeric | kWord;
    case kNo:
      return kNumber | kNumeric;
    case kZs:
    case kZl:
    case kZp:
      return kSpace;
    default:
      return 0;
  }
}

template <std::size_t N>
void set_bits(std::uint8_t* classes, const CodePointRange (&ranges)[N], std::uint8_t bits) {
  for (const CodePointRange& range : ranges) {
    for (std::uint32_t c = range.first; c <= range.last; ++c) classes[c] |= bits;
  }
}

/// Zero-filled by the system, so the unassigned planes cost no memory.
struct FreeDelete {
  void operator()(std::uint8_t* p) const noexcept { std::free(p); }
};
using ClassTable = std::unique_ptr<std::uint8_t, FreeDelete>;

ClassTable build_classes() {
  ClassTable owner(static_cast<std::uint8_t*>(std::calloc(kCodePoints, 1)));
  if (!owner) throw std::bad_alloc();
  std::uint8_t* classes = owner.get();
  constexpr std::size_t runs = std::size(table::kCategoryRuns);
  for (std::size_t i = 0; i < runs; ++i) {
    const std::uint8_t bits = bits_of(table::kCategoryRuns[i].category);
    const std::uint32_t begin = table::kCategoryRuns[i].begin;
    const std::uint32_t end = i + 1 < runs ? table::kCategoryRuns[i + 1].begin : kCodePoints;
    if (bits != 0) std::memset(classes + begin, bits, end - begin);
  }
  for (const std::uint32_t c : {0x09U, 0x0AU, 0x0BU, 0x0CU, 0x0DU, 0x85U}) classes[c] |= kSpace;
  set_bits(classes, table::kWordAdded, kWord);
  set_bits(classes, table::kNumericAdded, kNumeric);
  set_bits(classes, table::kRecent, kRecent);
  set_bits(classes, table::kInert, kInert);
  for_each_with(CharTrait::kPunctuation, [&](char32_t c) { classes[c] |= kPunct; });
  return owner;
}

/// Code points of each category, in its order, with a UTF-8 form of three and of four bytes, of
/// scripts that no pattern names, that have been in it since Unicode 13 or earlier. Where there is
/// none of that length, one that patterns treat alike.
struct StandIn {
  char32_t three;
  char32_t four;
};
constexpr StandIn kStandIns[] = {{0xFFFF, 0x1FFFE}, {0x1E00, 0x10400}, {0x1E01, 0x10428},
                                 {0x1F88, 0x10400}, {0xA015, 0x16F93}, {0xA500, 0x10000},
                                 {0x0F39, 0x1D167}, {0x0F3E, 0x1D165}, {0x20DD, 0x1D167},
                                 {0x0F20, 0x104A0}, {0x2160, 0x10140}, {0x2460, 0x10107},
                                 {0x203F, 0},       {0x2010, 0x10EAD}, {0x2045, 0},
                                 {0x2046, 0},       {0x2018, 0},       {0x2019, 0},
                                 {0x2016, 0x10100}, {0x2044, 0x1D6C1}, {0x20A0, 0x1E2FF},
                                 {0x309B, 0x1F3FB}, {0x2100, 0x1D000}, {0x2000, 0},
                                 {0x2028, 0},       {0x2029, 0},       {0, 0},
                                 {0x200B, 0xE0001}, {0xE000, 0xF0000}};
static_assert(std::size(kStandIns) == static_cast<std::size_t>(Category::kCo) + 1);

/// 0 where there is none: the code point then stays.
char32_t stand_in(char32_t code_point, Category category, std::size_t bytes) {
  if (code_point >= 0x20000 && category == Category::kLo) return 0x20000;  // Han stays Han
  const StandIn& both = kStandIns[static_cast<std::size_t>(category)];
  if (bytes == 2) return category == Category::kCn ? 0x0378 : 0;
  return bytes == 3 ? both.three : both.four;
}

}  // namespace

const std::uint8_t* char_classes() {
  static const ClassTable classes = build_classes();
  return classes.get();
}

Category category(char32_t code_point) noexcept {
  const auto* after =
      std::upper_bound(std::begin(table::kCategoryRuns), std::end(table::kCategoryRuns), code_point,
                       [](char32_t c, const CategoryRun& run) { return c < run.begin; });
  return after == std::begin(table::kCategoryRuns) ? Category::kCn : std::prev(after)->category;
}

void append_lowercase(std::string& out, char32_t code_point) {
  const auto* entry =
      std::lower_bound(std::begin(table::kLowercase), std::end(table::kLowercase), code_point,
                       [](const LowercaseEntry& e, char32_t c) { return e.from < c; });
  if (entry != std::end(table::kLowercase) && entry->from == code_point) {
    append_utf8(out, entry->first);
    if (entry->second != 0) append_utf8(out, entry->second);
    return;
  }
  append_utf8(out,
              static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))));
}

std::optional<std::string> shadow_for_regex(std::string_view text) {
  const std::uint8_t* classes = char_classes();
  std::optional<std::string> shadow;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<std::uint8_t>(text[at]) < 0xC0) {
      ++at;
      continue;
    }
    const std::size_t begin = at;
    const char32_t c = decode_at(text.data(), at);
    const bool recent = (classes[c] & kRecent) != 0;
    if (!recent && (classes[c] & (kLetter | kNumber | kSpace | kWord)) != 0) continue;
    const Category kind = category(c);
    if (!recent && kind != Category::kCn) continue;
    const char32_t other = stand_in(c, kind, at - begin);
    if (other == 0) continue;
    if (!shadow) shadow.emplace(text);
    std::string replacement;
    append_utf8(replacement, other);
    shadow->replace(begin, at - begin, replacement);
  }
  return shadow;
}

std::string regex_word_extras() {
  std::string out;
  for (const CodePointRange& range : table::kRegexWordAdded) {
    out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", range.first, range.last);
  }
  return out;
}

}  // namespace lancet
