#include "surgery/locate/prompt.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

struct Span {
  std::size_t begin = 0, end = 0;
};

/// Fills the subject in, or finds it; `text` becomes the whole prompt.
Span place_subject(std::string& text, const std::string& subject) {
  std::size_t at = text.find("{}");
  if (at != std::string::npos) {
    if (text.find("{}", at + 2) != std::string::npos)
      fail(
          ErrorKind::kUsage, "locate",
          fmt::format("expected one '{{}}' in the prompt, found several in '{}'", printable(text)));
    text.replace(at, 2, subject);
    return {at, at + subject.size()};
  }
  at = text.find(subject);
  if (at == std::string::npos) {
    fail(ErrorKind::kUsage, "locate",
         fmt::format("expected the subject '{}' in the prompt, found '{}'", printable(subject),
                     printable(text)),
         "write the prompt with {} where the subject stands");
  }
  if (text.find(subject, at + 1) != std::string::npos) {
    fail(ErrorKind::kUsage, "locate",
         fmt::format("the subject '{}' stands more than once in '{}'", printable(subject),
                     printable(text)),
         "write {} for the one that is meant");
  }
  return {at, at + subject.size()};
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\n\r") == std::string_view::npos;
}

/// A token that holds a letter of the subject and one beside it is refused: what would be corrupted
/// or restored there is not the subject.
void check_border(const LocatePrompt& prompt, std::string_view outside, std::size_t token) {
  if (is_blank(outside)) return;
  fail(ErrorKind::kUsage, "locate",
       fmt::format("expected token borders around the subject '{}', found the token '{}' that "
                   "reaches beyond it",
                   printable(prompt.subject), printable(prompt.tokens[token])),
       "put a blank or a punctuation mark between the subject and its neighbour");
}

void find_subject(LocatePrompt& prompt, const Encoding& encoding, Span span) {
  const std::string_view text = prompt.text;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [first, behind] = encoding.offsets[i];
    if (first >= behind || first >= span.end || behind <= span.begin) continue;
    if (is_blank(text.substr(first, behind - first)) && prompt.subject_first < 0) continue;
    if (first < span.begin) check_border(prompt, text.substr(first, span.begin - first), i);
    if (behind > span.end) check_border(prompt, text.substr(span.end, behind - span.end), i);
    if (prompt.subject_first < 0) prompt.subject_first = static_cast<std::int64_t>(i);
    prompt.subject_last = static_cast<std::int64_t>(i);
  }
  if (prompt.subject_first < 0)
    fail(ErrorKind::kUsage, "locate",
         fmt::format("the subject '{}' has no token of its own", printable(prompt.subject)));
}

}  // namespace

at::Tensor LocatePrompt::input() const {
  std::vector<std::int64_t> all(ids.begin(), ids.end());
  if (!target.empty()) all.insert(all.end(), target.begin(), target.end() - 1);
  return at::tensor(all, at::kLong);
}

LocatePrompt read_prompt(const Tokenizer& tokenizer, const Fact& fact, bool subject_needed) {
  LocatePrompt out{.id = fact.id, .text = fact.prompt, .subject = fact.subject};
  if (out.subject.empty() && subject_needed)
    fail(ErrorKind::kUsage, "locate", "expected a subject, found none", "--subject TEXT");
  Span span;
  if (!out.subject.empty()) span = place_subject(out.text, out.subject);
  out.subject_begin = span.begin;
  const Encoding encoding = tokenizer.encode(out.text);
  if (encoding.ids.empty())
    fail(ErrorKind::kUsage, "locate",
         fmt::format("the prompt '{}' gives no token", printable(out.text)));
  out.ids = encoding.ids;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [first, behind] = encoding.offsets[i];
    out.tokens.push_back(first < behind ? utf8_lossy(out.text.substr(first, behind - first))
                                        : tokenizer.token(encoding.ids[i]));
  }
  if (!out.subject.empty()) find_subject(out, encoding, span);
  if (!fact.target.empty()) {
    out.target_text = fact.target;
    out.target = target_tokens(tokenizer, out.text, fact.target);
  }
  return out;
}

TokenId next_token(const Decoder& model, const LocatePrompt& prompt) {
  const c10::AutoGradMode no_gradient(false);
  const at::Tensor ids =
      prompt.input().narrow(0, 0, prompt.size()).unsqueeze(0).to(model.options().device());
  const at::Tensor hidden = model.run(model.embed(ids), 0, model.spec().layers);
  return static_cast<TokenId>(
      model.head(hidden[0][prompt.answer_position()]).argmax().item<std::int64_t>());
}

void answer_by_model(const Decoder& model, const Tokenizer& tokenizer, LocatePrompt& prompt) {
  if (!prompt.target.empty()) return;
  prompt.target = {next_token(model, prompt)};
  prompt.target_text = tokenizer.decode(prompt.target, false);
}

std::vector<std::int64_t> role_tokens(const LocatePrompt& prompt, TokenRole role) {
  std::int64_t first = 0, behind = 0;
  switch (role) {
    case TokenRole::kFirstSubject:
      first = prompt.subject_first, behind = first + 1;
      break;
    case TokenRole::kMiddleSubject:
      first = prompt.subject_first + 1, behind = prompt.subject_last;
      break;
    case TokenRole::kLastSubject:
      first = prompt.subject_last, behind = first + 1;
      break;
    case TokenRole::kNext:
      first = prompt.subject_last + 1, behind = std::min(first + 1, prompt.size());
      break;
    case TokenRole::kFurther:
      first = prompt.subject_last + 2, behind = prompt.size() - 1;
      break;
    case TokenRole::kLast:
      first = prompt.size() - 1, behind = prompt.size();
      break;
  }
  std::vector<std::int64_t> out;
  for (std::int64_t i = first; i < behind; ++i) out.push_back(i);
  return out;
}

Json prompt_json(const LocatePrompt& prompt) {
  Json out{{"id", prompt.id},
           {"prompt", prompt.text},
           {"subject", prompt.subject},
           {"target", prompt.target_text},
           {"tokens", prompt.tokens}};
  if (prompt.subject_first >= 0) {
    out["subject_tokens"] = {prompt.subject_first, prompt.subject_last};
    out["subject_bytes"] = {prompt.subject_begin, prompt.subject_begin + prompt.subject.size()};
  }
  return out;
}

}  // namespace lancet
