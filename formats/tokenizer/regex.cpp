#include "formats/tokenizer/regex.h"

#include <algorithm>
#include <cctype>
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

/// PCRE2's limits and the stack that its compiled patterns run on, one for each thread: making a
/// stack asks the system for memory. A match is over before a sink may start another one.
struct MatchSettings {
  MatchContextPtr context;
  JitStackPtr stack;

  MatchSettings()
      : context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32U << 10U, kJitStackBytes, nullptr)) {
    if (!context || !stack) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

pcre2_match_context* match_context() {
  thread_local const MatchSettings settings;
  return settings.context.get();
}

MatchDataPtr make_match_data(const pcre2_code* code) {
  MatchDataPtr data(pcre2_match_data_create_from_pattern(code, nullptr));
  if (!data) throw std::bad_alloc();
  return data;
}

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

bool is_script(std::string_view name) {
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  if (name.size() < 3 || !std::all_of(name.begin(), name.end(), plain)) return false;
  const std::string pattern = fmt::format("\\p{{sc:{}}}", name);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const CodePtr code(pcre2_compile(reinterpret_cast<PCRE2_SPTR8>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
  return code != nullptr;
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
  pcre2_match_context* const context = match_context();
  const MatchDataPtr data = make_match_data(code_->code.get());
  Budget budget(text.size());
  std::size_t search = 0;
  std::size_t covered = 0;
  std::optional<std::size_t> last_end;
  while (search <= subject.size()) {
    const int found = pcre2_match(code_->code.get(), raw, subject.size(), search,
                                  PCRE2_NO_UTF_CHECK, data.get(), context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0 || budget.spent()) {
      fail(ErrorKind::kInput, "tokenizer",
           fmt::format("{}: the pattern takes too long at byte {} of the text ({})",
                       printable(where_, 300), search,
                       found < 0 ? pcre2_message(found) : "time limit"));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
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
