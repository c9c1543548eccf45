// Pre-tokenizers that cut at a change of character: Whitespace, BertPreTokenizer, UnicodeScripts,
// FixedLength.

#include "formats/tokenizer/character_tables.h"
#include "formats/tokenizer/pre_tokenizer.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

/// \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  void apply(const Segment& segment, TextArena&, SegmentSink sink) const override {
    const std::uint8_t* classes = char_classes();
    const auto kind_at = [&](std::size_t& at) {
      return static_cast<std::uint8_t>(classes[decode_at(segment.text.data(), at)] &
                                       (kWord | kSpace));
    };
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      const std::uint8_t kind = kind_at(at);
      for (std::size_t next = at; next < segment.text.size() && kind_at(next) == kind;) at = next;
      if (kind != kSpace) sink(segment.slice(begin, at));
    }
  }
};

/// White space goes, each punctuation mark is a word.
class BertWords : public PreTokenizer {
 public:
  void apply(const Segment& segment, TextArena&, SegmentSink sink) const override {
    const std::uint8_t* classes = char_classes();
    std::size_t word = 0;
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      const std::uint8_t kind = classes[decode_at(segment.text.data(), at)] & (kSpace | kPunct);
      if (kind == 0) continue;
      if (begin > word) sink(segment.slice(word, begin));
      if ((kind & kSpace) == 0) sink(segment.slice(begin, at));
      word = at;
    }
    if (word < segment.text.size()) sink(segment.slice(word, segment.text.size()));
  }
};

/// Cuts where the script changes. What goes with any script stays with what stands before it, and
/// at the beginning of the text is dropped, as in the library.
class ScriptRuns : public PreTokenizer {
 public:
  void apply(const Segment& segment, TextArena&, SegmentSink sink) const override {
    std::uint8_t last = 0;
    std::size_t begin = segment.text.size();
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t here = at;
      const std::uint8_t script = script_of(decode_at(segment.text.data(), at));
      if (script == 0 || script == last) continue;
      if (last != 0) sink(segment.slice(begin, here));
      begin = here;
      last = script;
    }
    if (begin < segment.text.size()) sink(segment.slice(begin, segment.text.size()));
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(std::size_t length) : length_(length) {}

  void apply(const Segment& segment, TextArena&, SegmentSink sink) const override {
    for (std::size_t at = 0; at < segment.text.size();) {
      const std::size_t begin = at;
      for (std::size_t i = 0; i < length_ && at < segment.text.size(); ++i)
        static_cast<void>(decode_at(segment.text.data(), at));
      sink(segment.slice(begin, at));
    }
  }

 private:
  std::size_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizer> whitespace_words() { return std::make_unique<Whitespace>(); }
std::unique_ptr<PreTokenizer> bert_words() { return std::make_unique<BertWords>(); }
std::unique_ptr<PreTokenizer> script_runs() { return std::make_unique<ScriptRuns>(); }
std::unique_ptr<PreTokenizer> fixed_length(std::size_t characters) {
  return std::make_unique<FixedLength>(characters);
}

}  // namespace lancet
