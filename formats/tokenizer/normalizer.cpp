#include "formats/tokenizer/normalizer.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps)
      : steps_(std::move(steps)) {}
  Segment apply(const Segment& segment, TextArena& arena) const override {
    Segment current = segment;
    for (const auto& step : steps_) current = step->apply(current, arena);
    return current;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class Lowercase : public Normalizer {
 public:
  Segment apply(const Segment& segment, TextArena& arena) const override {
    SegmentBuilder builder(segment, arena);
    std::string lower;
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      lower.clear();
      append_lowercase(lower, decode_at(segment.text.data(), at));
      if (lower == segment.text.substr(begin, at - begin)) {
        builder.keep(begin, at);
      } else {
        builder.put(lower, begin, at);
      }
    }
    return builder.text() == segment.text ? segment : builder.finish();
  }
};

/// Puts `prefix` in front of a segment that is not empty.
class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Segment apply(const Segment& segment, TextArena& arena) const override {
    if (segment.text.empty() || prefix_.empty()) return segment;
    SegmentBuilder builder(segment, arena);
    builder.put(prefix_, 0, 0);
    builder.keep(0, segment.text.size());
    return builder.finish();
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(std::unique_ptr<Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Segment apply(const Segment& segment, TextArena& arena) const override {
    SegmentBuilder builder(segment, arena);
    bool changed = false;
    pattern_->split(segment.text, [&](std::size_t begin, std::size_t end, bool match) {
      if (match) {
        builder.put(content_, begin, end);
        changed = true;
      } else {
        builder.keep(begin, end);
      }
    });
    return changed ? builder.finish() : segment;
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

/// Removes white space at the ends.
class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Segment apply(const Segment& segment, TextArena&) const override {
    const std::uint8_t* classes = char_classes();
    const char* text = segment.text.data();
    std::size_t begin = 0;
    std::size_t end = segment.text.size();
    while (left_ && begin < end) {
      std::size_t next = begin;
      if ((classes[decode_at(text, next)] & kSpace) == 0) break;
      begin = next;
    }
    while (right_ && end > begin) {
      const std::size_t last = previous_start(text, end);
      std::size_t at = last;
      if ((classes[decode_at(text, at)] & kSpace) == 0) break;
      end = last;
    }
    return segment.slice(begin, end);
  }

 private:
  bool left_;
  bool right_;
};

/// Each byte as a code point of the byte alphabet.
class ByteLevelNormalizer : public Normalizer {
 public:
  Segment apply(const Segment& segment, TextArena& arena) const override {
    SegmentBuilder builder(segment, arena);
    for (std::size_t at = 0; at < segment.text.size(); ++at) {
      builder.put(byte_alphabet()[static_cast<std::uint8_t>(segment.text[at])], at, at + 1);
    }
    return builder.finish();
  }
};

std::unique_ptr<Normalizer> make_sequence(const Json& description, const Where& where) {
  std::vector<std::unique_ptr<Normalizer>> steps;
  const Json::array_t& list = where.array(description, "normalizers");
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto step = make_normalizer(list[i], where.component("normalizers", i));
    if (step) steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

/// Steps in the library's order; strip_accents follows lowercase where it is null.
std::unique_ptr<Normalizer> make_bert(const Json& description, const Where& where) {
  const bool lowercase = where.boolean(description, "lowercase", true);
  std::vector<std::unique_ptr<Normalizer>> steps;
  if (where.boolean(description, "clean_text", true))
    steps.push_back(character_normalizer(CharacterRule::kClean));
  if (where.boolean(description, "handle_chinese_chars", true)) steps.push_back(chinese_spacer());
  if (where.boolean(description, "strip_accents", lowercase)) {
    steps.push_back(unicode_normalizer(NormalForm::kNfd));
    steps.push_back(character_normalizer(CharacterRule::kStripBertMarks));
  }
  if (lowercase) steps.push_back(std::make_unique<Lowercase>());
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

}  // namespace

void TextArena::fail_too_long() {
  fail(ErrorKind::kInput, "tokenizer",
       "the normalizer makes a text of more than 64 times its bytes",
       "the normalizer of this tokenizer.json is broken or hostile");
}

std::unique_ptr<Normalizer> make_normalizer(const Json& description, const Where& where) {
  if (description.is_null()) return nullptr;
  const std::string type = where.string(description, "type");
  if (type == "Sequence") return make_sequence(description, where);
  if (type == "NFC") return unicode_normalizer(NormalForm::kNfc);
  if (type == "NFD") return unicode_normalizer(NormalForm::kNfd);
  if (type == "NFKC") return unicode_normalizer(NormalForm::kNfkc);
  if (type == "NFKD") return unicode_normalizer(NormalForm::kNfkd);
  if (type == "Nmt") return character_normalizer(CharacterRule::kNmt);
  if (type == "StripAccents") return character_normalizer(CharacterRule::kStripAccents);
  if (type == "BertNormalizer") return make_bert(description, where);
  if (type == "Precompiled") return precompiled_normalizer(description, where);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Prepend") return std::make_unique<Prepend>(where.string(description, "prepend"));
  if (type == "Strip") {
    return std::make_unique<Strip>(where.boolean(description, "strip_left"),
                                   where.boolean(description, "strip_right"));
  }
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "Replace") {
    return std::make_unique<Replace>(
        make_pattern(where.member(description, "pattern"), where.key("pattern")),
        where.string(description, "content"));
  }
  where.fail_unsupported("normalizer", type);
}

}  // namespace lancet
