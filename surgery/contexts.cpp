#include "surgery/contexts.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "model/generate.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 5> kStarters{"The", "Therefore", "Because", "I", "You"};
constexpr std::int64_t kShort = 5;  ///< tokens of the first half of the texts
constexpr std::int64_t kLong = 10;
constexpr std::int64_t kTopK = 5;

std::string as_template(std::string text) {
  for (char& c : text) {
    if (c == '{' || c == '}' || c == '\n' || c == '\r') c = ' ';
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return text + ". {}";
}

}  // namespace

std::vector<std::string> sample_contexts(const Decoder& model, const Tokenizer& tokenizer,
                                         std::int64_t count, std::uint64_t seed) {
  // All in one batch: every token reads all weights, however many texts there are.
  std::vector<Prompt> prompts;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string starter(kStarters[static_cast<std::size_t>(i) % kStarters.size()]);
    const bool is_short = i < (count + 1) / 2;
    prompts.push_back({std::to_string(i), starter, true, is_short ? kShort : kLong});
  }
  SamplingOptions options;
  options.max_tokens = kLong;
  options.temperature = 1;
  options.top_k = kTopK;
  std::vector<std::string> contexts{"{}"};
  const auto texts = generate(model, tokenizer, prompts, options, seed);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    contexts.push_back(as_template(prompts[i].text + tokenizer.decode(texts[i].ids)));
  }
  return contexts;
}

std::vector<std::string> contexts_like_sampled() { return {"{}", "The. {}"}; }

std::vector<std::string> read_contexts(const fs::path& path) {
  const std::string text = read_file(path, 1 << 20);
  std::vector<std::string> contexts;
  std::size_t line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string context = text.substr(at, end - at);
    at = end + 1;
    if (!context.empty() && context.back() == '\r') context.pop_back();
    if (context.empty()) continue;
    const std::size_t slot = context.find("{}");
    if (slot == std::string::npos || context.find("{}", slot + 2) != std::string::npos) {
      fail(ErrorKind::kUsage, "edit",
           fmt::format("contexts: expected one '{{}}' in a line, found '{}' ({}:{})",
                       printable(context), path.string(), line));
    }
    contexts.push_back(std::move(context));
  }
  const auto bare = std::find(contexts.begin(), contexts.end(), "{}");
  if (bare == contexts.end()) {
    contexts.insert(contexts.begin(), "{}");
  } else {
    std::rotate(contexts.begin(), bare, bare + 1);
  }
  return contexts;
}

bool is_sampled(const Parameters& parameters) { return parameters.word("contexts") == "auto"; }

void check_contexts(const Parameters& parameters) {
  if (is_sampled(parameters) || !parameters.is_given("context_count")) return;
  fail(ErrorKind::kUsage, "edit",
       fmt::format("--method-option context_count: expected contexts=auto, found contexts={}",
                   printable(parameters.word("contexts"))),
       "all contexts of a file are used; leave one of the two out");
}

std::vector<std::string> contexts_of(const EditInput& input) {
  if (!input.given_contexts.empty()) return input.given_contexts;
  if (!is_sampled(input.parameters)) return read_contexts(input.parameters.word("contexts"));
  const std::int64_t count = input.parameters.integer("context_count");
  return input.contexts ? input.contexts(count)
                        : sample_contexts(input.model, input.tokenizer, count, input.seed);
}

}  // namespace lancet
