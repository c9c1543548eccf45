// Normalizers that look at one character at a time: Nmt, StripAccents and the steps of
// BertNormalizer.

#include <optional>
#include <string>

#include "core/text.h"
#include "formats/tokenizer/character_tables.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

/// What stands in the place of one character; nothing: the character itself.
using Change = std::optional<std::string_view>;

bool is_between(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

Change nmt(char32_t c) {
  if (c < 0x20) {
    if (c == '\t' || c == '\n' || c == '\f' || c == '\r') return " ";
    return c == 0 ? Change() : Change("");
  }
  if (c == 0x7F || c == 0x8F || c == 0x9F) return "";
  const bool blank = c == 0x1680 || is_between(c, 0x200B, 0x200F) || c == 0x2028 || c == 0x2029 ||
                     c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  return blank ? Change(" ") : Change();
}

Change clean(char32_t c) {
  if (is_between(c, 0x20, 0x7E)) return {};
  if (has_trait(c, CharTrait::kBertRemoved)) return "";
  return (char_classes()[c] & kSpace) != 0 ? Change(" ") : Change();
}

bool is_chinese(char32_t c) {
  return is_between(c, 0x4E00, 0x9FFF) || is_between(c, 0x3400, 0x4DBF) ||
         is_between(c, 0x20000, 0x2A6DF) || is_between(c, 0x2A700, 0x2B81F) ||
         is_between(c, 0x2B920, 0x2CEAF) || is_between(c, 0xF900, 0xFAFF) ||
         is_between(c, 0x2F800, 0x2FA1F);
}

Change without(CharTrait trait, char32_t c) {
  return c >= 0x300 && has_trait(c, trait) ? Change("") : Change();
}

class CharacterNormalizer : public Normalizer {
 public:
  explicit CharacterNormalizer(CharacterRule rule) : rule_(rule) {}

  Segment apply(const Segment& segment, TextArena& arena) const override {
    std::optional<SegmentBuilder> builder;  // from the first change on
    std::size_t kept = 0;
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      const Change change = change_of(decode_at(segment.text.data(), at));
      if (!change) continue;
      if (!builder) builder.emplace(segment, arena);
      builder->keep(kept, begin);
      builder->put(*change, begin, at);
      kept = at;
    }
    if (!builder) return segment;
    builder->keep(kept, segment.text.size());
    return builder->finish();
  }

 private:
  [[nodiscard]] Change change_of(char32_t c) const {
    switch (rule_) {
      case CharacterRule::kNmt:
        return nmt(c);
      case CharacterRule::kClean:
        return clean(c);
      case CharacterRule::kStripAccents:
        return without(CharTrait::kCombining, c);
      case CharacterRule::kStripBertMarks:
        return without(CharTrait::kBertMark, c);
    }
    return {};
  }

  CharacterRule rule_;
};

/// Puts a blank on both sides of each ideograph.
class ChineseSpacer : public Normalizer {
 public:
  Segment apply(const Segment& segment, TextArena& arena) const override {
    SegmentBuilder builder(segment, arena);
    std::string spaced;
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      if (!is_chinese(decode_at(segment.text.data(), at))) {
        builder.keep(begin, at);
        continue;
      }
      spaced.assign(" ").append(segment.text.substr(begin, at - begin)).append(" ");
      builder.put(spaced, begin, at);
    }
    return builder.text().size() == segment.text.size() ? segment : builder.finish();
  }
};

}  // namespace

std::unique_ptr<Normalizer> character_normalizer(CharacterRule rule) {
  return std::make_unique<CharacterNormalizer>(rule);
}

std::unique_ptr<Normalizer> chinese_spacer() { return std::make_unique<ChineseSpacer>(); }

}  // namespace lancet
