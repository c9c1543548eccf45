#include "formats/tokenizer/regex.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/text.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::size_t kPatternLimit = 64U << 10U;
constexpr std::uint32_t kMatchLimit = 10'000'000;
constexpr std::uint32_t kDepthLimit = 100'000;
constexpr std::uint32_t kHeapLimitKib = 64U << 10U;
constexpr std::size_t kJitStackBytes = 1U << 20U;

// White_Space without U+180E, which PCRE2 counts in.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kHexDigits = "0-9A-Fa-f";

// A bare \w of Oniguruma has these superscripts and fractions, [\w] has not.
constexpr std::string_view kBareWordExtras = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

std::string word_members(bool in_class) {
  std::string members = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})" + regex_word_extras();
  if (!in_class) members += kBareWordExtras;
  return members;
}

/// Members of the class that `\letter` stands for in Oniguruma where PCRE2 means another; empty for
/// others.
std::string members_of(char letter, bool in_class) {
  switch (letter) {
    case 's':
    case 'S':
      return std::string(kSpaces);
    case 'w':
    case 'W':
      return word_members(in_class);
    case 'h':
    case 'H':
      return std::string(kHexDigits);
    default:
      return {};
  }
}

/// Walks the pattern once, copying what both dialects read alike.
class Translator {
 public:
  Translator(std::string_view pattern, const Where& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_member(c);
      } else {
        out_ += c;
        ++at_;
        if (c == '[') open_class();
      }
    }
    return std::move(out_);
  }

 private:
  /// After '[': a leading ^ negates, a ] right after it is a member.
  void open_class() {
    in_class_ = true;
    if (at_ < pattern_.size() && pattern_[at_] == '^') out_ += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == ']') {
      out_ += "\\]";
      ++at_;
    }
  }

  void class_member(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (rest.starts_with("[:")) {
      const std::size_t end = rest.find(":]");
      if (end == rest.npos) where_.fail_unsupported("pattern with a nested class", pattern_);
      out_ += rest.substr(0, end + 2);
      at_ += end + 2;
      return;
    }
    if (c == '[') where_.fail_unsupported("pattern with a nested class", pattern_);
    if (rest.starts_with("&&"))
      where_.fail_unsupported("pattern with a class intersection", pattern_);
    if (c == ']') in_class_ = false;
    out_ += c;
    ++at_;
  }

  void escape() {
    const char letter = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    const std::string members = members_of(letter, in_class_);
    if (members.empty()) {
      out_ += pattern_.substr(at_, 2);
    } else if (const bool negated = letter >= 'A' && letter <= 'Z'; !in_class_) {
      out_ += (negated ? "[^" : "[") + members + "]";
    } else if (!negated) {
      out_ += members;
    } else if (letter == 'S') {
      out_ += not_space();
    } else {
      where_.fail_unsupported("pattern with \\W or \\H inside a class", pattern_);
    }
    at_ += 2;
  }

  /// \S as members of a class: everything between the spaces.
  static std::string not_space() {
    return R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
           R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{d7ff}\x{e000}-\x{10ffff})";
  }

  std::string_view pattern_;
  const Where& where_;
  std::string out_;
  std::size_t at_ = 0;
  bool in_class_ = false;
};

template <auto Function>
struct Call {
  template <typename T>
  void operator()(T* object) const noexcept {
    Function(object);
  }
};
using CodePtr = std::unique_ptr<pcre2_code, Call<pcre2_code_free>>;
using MatchDataPtr = std::unique_ptr<pcre2_match_data, Call<pcre2_match_data_free>>;
using CompileContextPtr = std::unique_ptr<pcre2_compile_context, Call<pcre2_compile_context_free>>;
using MatchContextPtr = std::unique_ptr<pcre2_match_context, Call<pcre2_match_context_free>>;
using JitStackPtr = std::unique_ptr<pcre2_jit_stack, Call<pcre2_jit_stack_free>>;

std::string pcre2_message(int code) {
  std::string text(256, '\0');
  const int length =
      pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR8*>(text.data()), text.size());
  text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  return text;
}

/// Per call of split: PCRE2's working memory, never shared between threads.
struct MatchState {
  MatchDataPtr data;
  MatchContextPtr context;
  JitStackPtr stack;

  explicit MatchState(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32U << 10U, kJitStackBytes, nullptr)) {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

/// The time that all matches in one text may take together.
class Budget {
 public:
  explicit Budget(std::size_t bytes)
      : end_(std::chrono::steady_clock::now() + std::chrono::milliseconds(5000 + bytes / 500)) {}
  [[nodiscard]] bool spent() {
    return (++calls_ & 0xFFU) == 0 && std::chrono::steady_clock::now() > end_;
  }

 private:
  std::chrono::steady_clock::time_point end_;
  std::uint32_t calls_ = 0;
};

}  // namespace

struct Regex::Code {
  CodePtr code;
};

std::string translate_pattern(std::string_view pattern, const Where& where) {
  return Translator(pattern, where).run();
}

Regex::Regex(std::string_view pattern, const Where& where)
    : code_(std::make_unique<Code>()), where_(where.text()) {
  if (pattern.size() > kPatternLimit) {
    where.fail_input(fmt::format("the pattern has {} bytes, expected at most {}", pattern.size(),
                                 kPatternLimit));
  }
  const std::string translated = translate_pattern(pattern, where);
  const CompileContextPtr context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's dialect: ^ and $ match at every line.
  code_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR8>(translated.data()),
                                  translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                  &error, &offset, context.get()));
  if (!code_->code) {
    where.fail_input(
        fmt::format("the pattern '{}' does not compile: {} (near offset {} of its translation)",
                    printable(pattern), pcre2_message(error), offset));
  }
  pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE);  // without JIT the interpreter runs it
}

Regex::~Regex() = default;

void Regex::split(std::string_view text, SpanSink sink) const {
  const std::optional<std::string> shadow = shadow_for_regex(text);
  const std::string_view subject = shadow ? std::string_view(*shadow) : text;
  const auto* raw = reinterpret_cast<PCRE2_SPTR8>(subject.data());
  MatchState state(code_->code.get());
  Budget budget(text.size());
  std::size_t search = 0;
  std::size_t covered = 0;
  std::optional<std::size_t> last_end;
  while (search <= subject.size()) {
    const int found = pcre2_match(code_->code.get(), raw, subject.size(), search,
                                  PCRE2_NO_UTF_CHECK, state.data.get(), state.context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0 || budget.spent()) {
      fail(ErrorKind::kInput, "tokenizer",
           fmt::format("{}: the pattern takes too long at byte {} of the text ({})",
                       printable(where_, 300), search,
                       found < 0 ? pcre2_message(found) : "time limit"));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state.data.get());
    const std::size_t begin = range[0];
    const std::size_t end = std::max(range[1], begin);
    if (begin == end && last_end == end) {
      if (search >= subject.size()) break;
      static_cast<void>(decode_at(subject.data(), search));
      continue;
    }
    if (begin > covered) sink(covered, begin, false);
    sink(begin, end, true);
    covered = search = end;
    last_end = end;
  }
  if (covered < text.size()) sink(covered, text.size(), false);
}

}  // namespace lancet
