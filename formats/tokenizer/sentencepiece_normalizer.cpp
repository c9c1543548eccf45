#include "formats/tokenizer/sentencepiece_normalizer.h"

#include <utility>

#include "formats/tokenizer/token_matcher.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::string_view kMarker = "\xE2\x96\x81";

class SentencePieceNormalizer : public Normalizer {
 public:
  explicit SentencePieceNormalizer(SentencePieceRules rules)
      : rules_(std::move(rules)),
        user_defined_(rules_.user_defined),
        blank_(rules_.escape_whitespaces ? kMarker : " ") {}

  Segment apply(const Segment& segment, TextArena& arena) const override {
    return Pass(*this, segment, arena).run();
  }

 private:
  /// What stands at one place of the input: `bytes` of it, and the text they become.
  struct Unit {
    std::size_t bytes;
    std::string_view text;
  };

  class Pass {
   public:
    Pass(const SentencePieceNormalizer& owner, const Segment& segment, TextArena& arena)
        : owner_(owner), rules_(owner.rules_), text_(segment.text), builder_(segment, arena) {
      if (!owner_.user_defined_.empty()) kept_ = owner_.user_defined_.find(text_);
    }

    Segment run() {
      std::size_t at = 0;
      while (rules_.remove_extra_whitespaces && at < text_.size()) {
        const Unit unit = unit_at(at);
        if (unit.text != " ") break;
        at += unit.bytes;
      }
      if (at == text_.size()) return {{}, nullptr, 0};
      const bool dummy = rules_.add_dummy_prefix;
      if (dummy && !rules_.whitespace_is_suffix) builder_.put(owner_.blank_, at, at);
      bool after_blank = rules_.remove_extra_whitespaces;
      while (at < text_.size()) {
        const Unit unit = unit_at(at);
        after_blank = put(unit, at, after_blank) && rules_.remove_extra_whitespaces;
        at += unit.bytes;
      }
      if (rules_.remove_extra_whitespaces) {
        while (builder_.text().ends_with(owner_.blank_)) builder_.drop(owner_.blank_.size());
      }
      if (dummy && rules_.whitespace_is_suffix)
        builder_.put(owner_.blank_, text_.size(), text_.size());
      return builder_.finish();
    }

   private:
    Unit unit_at(std::size_t at) {
      while (next_kept_ < kept_.size() && kept_[next_kept_].begin < at) ++next_kept_;
      if (next_kept_ < kept_.size() && kept_[next_kept_].begin == at) {
        const std::size_t bytes = kept_[next_kept_].end - at;
        return {bytes, text_.substr(at, bytes)};
      }
      const std::string_view rest = text_.substr(at);
      if (rules_.charsmap) {
        if (const auto found = rules_.charsmap->find_longest(rest))
          return {found->first, found->second};
      }
      std::size_t bytes = 0;
      static_cast<void>(decode_at(rest.data(), bytes));
      return {bytes, rest.substr(0, bytes)};
    }

    /// Appends the unit, blanks escaped; true when it ends in a blank (or is empty after one).
    bool put(const Unit& unit, std::size_t at, bool after_blank) {
      std::string_view text = unit.text;
      while (after_blank && text.starts_with(' ')) text.remove_prefix(1);
      if (text.empty()) return after_blank;
      for (std::size_t begin = 0; begin < text.size();) {
        const bool blank = text[begin] == ' ';
        const std::size_t end = blank ? begin + 1 : std::min(text.find(' ', begin), text.size());
        const std::string_view part = text.substr(begin, end - begin);
        if (!blank && part.data() == text_.data() + at) {
          builder_.keep(at, at + part.size());
        } else {
          builder_.put(blank ? owner_.blank_ : part, at, at + unit.bytes);
        }
        begin = end;
      }
      return text.ends_with(' ');
    }

    const SentencePieceNormalizer& owner_;
    const SentencePieceRules& rules_;
    std::string_view text_;
    SegmentBuilder builder_;
    std::vector<TokenMatcher::Match> kept_;
    std::size_t next_kept_ = 0;
  };

  SentencePieceRules rules_;
  TokenMatcher user_defined_;
  std::string_view blank_;
};

}  // namespace

std::unique_ptr<Normalizer> sentencepiece_normalizer(SentencePieceRules rules) {
  return std::make_unique<SentencePieceNormalizer>(std::move(rules));
}

}  // namespace lancet
