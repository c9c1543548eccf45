#include "formats/tokenizer/pre_tokenizer.h"

#include <optional>
#include <string>
#include <utility>

#include "core/text.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

/// `prefix` in front of the segment, standing for nothing of the input.
Segment prepended(const Segment& segment, std::string_view prefix, TextArena& arena) {
  SegmentBuilder builder(segment, arena);
  builder.put(prefix, 0, 0);
  builder.keep(0, segment.text.size());
  return builder.finish();
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex, bool raw)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex), raw_(raw) {}

  void apply(const Segment& segment, TextArena& arena, SegmentSink sink) const override {
    const bool prefix = add_prefix_space_ && !segment.text.starts_with(' ');
    const Segment whole = prefix ? prepended(segment, " ", arena) : segment;
    if (!use_regex_) return emit(whole, arena, sink);
    for (std::size_t at = 0; at < whole.text.size();) {
      const std::size_t end = scan_gpt2(whole.text, at);
      emit(whole.slice(at, end), arena, sink);
      at = end;
    }
  }

 private:
  void emit(const Segment& piece, TextArena& arena, SegmentSink sink) const {
    if (raw_) return sink(piece);
    SegmentBuilder builder(piece, arena);
    for (std::size_t at = 0; at < piece.text.size(); ++at) {
      builder.put(byte_alphabet()[static_cast<std::uint8_t>(piece.text[at])], at, at + 1);
    }
    sink(builder.finish());
  }

  bool add_prefix_space_;
  bool use_regex_;
  bool raw_;
};

class Split : public PreTokenizer {
 public:
  Split(std::unique_ptr<Pattern> pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void apply(const Segment& segment, TextArena&, SegmentSink sink) const override {
    split_text(*pattern_, behavior_, invert_, segment.text,
               [&](std::size_t begin, std::size_t end) { sink(segment.slice(begin, end)); });
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  Behavior behavior_;
  bool invert_;
};

enum class PrependScheme { kFirst, kAlways, kNever };

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)),
        scheme_(scheme),
        split_(split),
        pattern_(literal_pattern(replacement_)) {}

  void apply(const Segment& segment, TextArena& arena, SegmentSink sink) const override {
    SegmentBuilder builder(segment, arena);
    if (prepends(segment)) builder.put(replacement_, 0, 0);
    for (std::size_t at = 0; at < segment.text.size(); ++at) {
      if (segment.text[at] == ' ') {
        builder.put(replacement_, at, at + 1);
      } else {
        builder.keep(at, at + 1);
      }
    }
    const Segment replaced = builder.finish();
    if (!split_) return sink(replaced);
    split_text(*pattern_, Behavior::kMergedWithNext, false, replaced.text,
               [&](std::size_t begin, std::size_t end) { sink(replaced.slice(begin, end)); });
  }

 private:
  [[nodiscard]] bool prepends(const Segment& segment) const {
    if (segment.text.starts_with(' ') || segment.text.starts_with(replacement_)) return false;
    if (scheme_ == PrependScheme::kFirst) return segment.input_range(0, 0).begin == 0;
    return scheme_ == PrependScheme::kAlways;
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
  std::unique_ptr<Pattern> pattern_;
};

std::unique_ptr<PreTokenizer> make_split(std::unique_ptr<Pattern> pattern, Behavior behavior) {
  return std::make_unique<Split>(std::move(pattern), behavior, false);
}

/// The member `key`, which is exactly one character.
std::string one_character(const Json& description, std::string_view key, const Where& where) {
  std::string text = where.string(description, key);
  std::size_t end = 0;
  if (!text.empty()) static_cast<void>(next_code_point(text, end));
  if (text.empty() || end != text.size()) where.key(key).fail_input("expected one character");
  return text;
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& description, const Where& where) {
  const std::string replacement = one_character(description, "replacement", where);
  std::optional<PrependScheme> scheme;
  if (description.contains("prepend_scheme")) {
    const std::string name = where.string(description, "prepend_scheme");
    if (name == "first") scheme = PrependScheme::kFirst;
    if (name == "always") scheme = PrependScheme::kAlways;
    if (name == "never") scheme = PrependScheme::kNever;
    if (!scheme) where.key("prepend_scheme").fail_input("unknown scheme '" + printable(name) + "'");
  }
  if (!where.boolean(description, "add_prefix_space", true)) {
    if (scheme && *scheme != PrependScheme::kNever) {
      where.fail_input("add_prefix_space false contradicts prepend_scheme");
    }
    scheme = PrependScheme::kNever;
  }
  return std::make_unique<Metaspace>(replacement, scheme.value_or(PrependScheme::kAlways),
                                     where.boolean(description, "split", true));
}

std::unique_ptr<PreTokenizer> make_stage(const std::string& type, const Json& description,
                                         const Where& where, bool raw) {
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(where.boolean(description, "add_prefix_space"),
                                       where.boolean(description, "use_regex", true), raw);
  }
  if (type == "Split") {
    return std::make_unique<Split>(
        make_pattern(where.member(description, "pattern"), where.key("pattern")),
        parse_behavior(where.string(description, "behavior"), where.key("behavior")),
        where.boolean(description, "invert", false));
  }
  if (type == "Digits") {
    const bool individual = where.boolean(description, "individual_digits", false);
    return make_split(class_pattern(kNumeric),
                      individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") {
    return make_split(
        class_pattern(kPunct),
        parse_behavior(where.string(description, "behavior", "Isolated"), where.key("behavior")));
  }
  if (type == "CharDelimiterSplit") {
    return make_split(literal_pattern(one_character(description, "delimiter", where)),
                      Behavior::kRemoved);
  }
  if (type == "WhitespaceSplit") return make_split(class_pattern(kSpace), Behavior::kRemoved);
  if (type == "Whitespace") return whitespace_words();
  if (type == "BertPreTokenizer") return bert_words();
  if (type == "UnicodeScripts") return script_runs();
  if (type == "FixedLength") {
    return fixed_length(
        static_cast<std::size_t>(where.integer(description, "length", 1, INT32_MAX)));
  }
  if (type == "Metaspace") return make_metaspace(description, where);
  where.fail_unsupported("pre-tokenizer", type);
}

struct StageDescription {
  std::string type;
  const Json* description;
  Where where;
};

/// Sequences in sequences become one list.
void flatten(const Json& description, const Where& where, std::vector<StageDescription>& out) {
  if (description.is_null()) return;
  std::string type = where.string(description, "type");
  if (type != "Sequence") {
    out.push_back({std::move(type), &description, where});
    return;
  }
  const Json::array_t& list = where.array(description, "pretokenizers");
  for (std::size_t i = 0; i < list.size(); ++i)
    flatten(list[i], where.component("pretokenizers", i), out);
}

}  // namespace

PreTokenizers::PreTokenizers(const Json& description, const Where& where, bool raw_bytes) {
  std::vector<StageDescription> stages;
  flatten(description, where, stages);
  raw_bytes_ = raw_bytes && !stages.empty() && stages.back().type == "ByteLevel";
  for (const StageDescription& stage : stages) {
    const bool raw = raw_bytes_ && &stage == &stages.back();
    stages_.push_back(make_stage(stage.type, *stage.description, stage.where, raw));
  }
}

void PreTokenizers::apply(const Segment& segment, TextArena& arena, SegmentSink sink) const {
  apply_from(0, segment, arena, sink);
}

void PreTokenizers::apply_from(std::size_t stage, const Segment& segment, TextArena& arena,
                               SegmentSink sink) const {
  if (segment.text.empty()) return;
  if (stage == stages_.size()) return sink(segment);
  stages_[stage]->apply(segment, arena,
                        [&](const Segment& piece) { apply_from(stage + 1, piece, arena, sink); });
}

}  // namespace lancet
