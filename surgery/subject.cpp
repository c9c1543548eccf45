#include "surgery/subject.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

std::size_t slot_of(std::string_view text, std::string_view what) {
  const std::size_t at = text.find("{}");
  if (at == std::string_view::npos) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected '{{}}', found '{}'", what, printable(text)));
  }
  return at;
}

/// Scripts that put no blank between words.
bool is_unspaced(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  constexpr Range kRanges[] = {
      {0x0E00, 0x0EFF},   // Thai, Lao
      {0x0F00, 0x0FFF},   // Tibetan
      {0x1000, 0x109F},   // Myanmar
      {0x1780, 0x17FF},   // Khmer
      {0x2E80, 0x9FFF},   // CJK radicals, Hiragana, Katakana, ideographs
      {0xF900, 0xFAFF},   // compatibility ideographs
      {0xFF00, 0xFFEF},   // full-width forms
      {0x20000, 0x3FFFF}  // further ideographs
  };
  return std::ranges::any_of(
      kRanges, [c](const Range& range) { return c >= range.first && c <= range.last; });
}

}  // namespace

std::string fill_template(std::string_view text, std::string_view value) {
  const std::size_t at = text.find("{}");
  if (at == std::string_view::npos) return std::string(text);
  std::string out(text.substr(0, at));
  out += value;
  out += text.substr(at + 2);
  return out;
}

PromptRow locate_subject(const Tokenizer& tokenizer, std::string_view context,
                         std::string_view prompt, std::string_view subject) {
  const std::size_t outer = slot_of(context, "context");
  const std::size_t inner = slot_of(prompt, "prompt");
  const std::string text = fill_template(context, fill_template(prompt, subject));
  const std::size_t end = outer + inner + subject.size();
  const Encoding encoding = tokenizer.encode(text);
  std::int64_t last = -1;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [first, behind] = encoding.offsets[i];
    if (first < behind && first < end) last = static_cast<std::int64_t>(i);
  }
  if (last < 0) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("key 'subject': expected a token of its own, found none for '{}'",
                     printable(subject)));
  }
  const auto [first, behind] = encoding.offsets[static_cast<std::size_t>(last)];
  if (behind > end) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format(
             "key 'subject': expected a token border behind '{}', found the token '{}' that "
             "reaches beyond it",
             printable(subject), printable(std::string_view(text).substr(first, behind - first))),
         subject.ends_with(' ') ? "leave the blank at the end of the subject out"
                                : "put a blank or a punctuation mark behind {} in the prompt");
  }
  return {encoding.ids, last};
}

std::string_view target_separator(std::string_view prompt, std::string_view target) {
  if (target.empty() || target.front() == ' ') return "";
  if (!prompt.empty() && (prompt.back() == ' ' || prompt.back() == '\n' || prompt.back() == '\t'))
    return "";
  std::size_t at = 0;
  return is_unspaced(next_code_point(target, at)) ? "" : " ";
}

std::vector<TokenId> target_tokens(const Tokenizer& tokenizer, std::string_view prompt,
                                   std::string_view target) {
  const std::string tail = std::string(target_separator(prompt, target)) + std::string(target);
  const std::vector<TokenId> head = tokenizer.encode(prompt).ids;
  const std::vector<TokenId> whole = tokenizer.encode(std::string(prompt) + tail).ids;
  std::vector<TokenId> ids;
  if (whole.size() > head.size() && std::equal(head.begin(), head.end(), whole.begin())) {
    ids.assign(whole.begin() + static_cast<std::ptrdiff_t>(head.size()), whole.end());
  } else {
    ids = tokenizer.encode(tail, false).ids;
  }
  if (ids.empty()) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("key 'target': expected a token, found none for '{}'", printable(target)));
  }
  return ids;
}

FactRows fact_rows(const Tokenizer& tokenizer, const Fact& fact,
                   const std::vector<std::string>& contexts) {
  check_fact(fact);
  FactRows rows;
  rows.target = target_tokens(tokenizer, fill_template(fact.prompt, fact.subject), fact.target);
  for (const std::string& context : contexts) {
    PromptRow row = locate_subject(tokenizer, context, fact.prompt, fact.subject);
    row.ids.insert(row.ids.end(), rows.target.begin(), rows.target.end() - 1);
    rows.rewriting.push_back(std::move(row));
  }
  rows.subject_only = locate_subject(tokenizer, "{}", "{} is a", fact.subject);
  rows.subject_only.ids.resize(static_cast<std::size_t>(rows.subject_only.lookup) + 1);
  return rows;
}

}  // namespace lancet
