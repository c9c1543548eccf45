#include "formats/tokenizer/summary.h"

namespace lancet {
namespace {

/// Index behind the JSON string that starts at text[at] == '"'.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return text.size();
}

/// The raw value of `key` among the members of the object that starts at text[at] == '{', or npos.
std::size_t find_member(std::string_view text, std::size_t at, std::string_view key) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      const std::size_t end = skip_string(text, at);
      const bool hit = depth == 1 && text.substr(at + 1, end - at - 2) == key;
      at = end;
      if (!hit) continue;
      while (at < text.size() &&
             (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
        ++at;
      if (at >= text.size() || text[at] != ':') continue;  // a value that equals the key
      ++at;
      while (at < text.size() &&
             (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
        ++at;
      return at;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') {
      if (--depth == 0) return std::string_view::npos;
    }
    ++at;
  }
  return std::string_view::npos;
}

/// Number of direct members or elements of the container that starts at text[at].
std::int64_t count_members(std::string_view text, std::size_t at) {
  int depth = 0;
  std::int64_t commas = 0;
  bool any = false;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      any = true;
      at = skip_string(text, at);
      continue;
    }
    if (c == '{' || c == '[') {
      any = any || depth > 0;
      ++depth;
    }
    if (c == ',' && depth == 1) ++commas;
    if ((c == '}' || c == ']') && --depth == 0) break;
    ++at;
  }
  return any ? commas + 1 : 0;
}

std::optional<TokenizerSummary> from_gguf(const GgufHeader& header) {
  const auto* tokens = header.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return std::nullopt;
  const std::string model = header.string("tokenizer.ggml.model", "unknown");
  return TokenizerSummary{model == "gpt2" ? "BPE" : model,
                          static_cast<std::int64_t>(tokens->size())};
}

}  // namespace

std::optional<TokenizerSummary> summarize_tokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return from_gguf(*checkpoint.gguf());
  const auto text = checkpoint.side_file("tokenizer.json");
  if (!text) return std::nullopt;
  const std::size_t start = text->find('{');
  if (start == std::string::npos) return std::nullopt;
  const std::size_t model = find_member(*text, start, "model");
  if (model == std::string_view::npos || model >= text->size() || (*text)[model] != '{')
    return std::nullopt;
  TokenizerSummary summary;
  if (const auto type = find_member(*text, model, "type");
      type < text->size() && (*text)[type] == '"') {
    summary.kind = text->substr(type + 1, skip_string(*text, type) - type - 2);
  }
  if (const auto vocab = find_member(*text, model, "vocab"); vocab < text->size()) {
    summary.vocab_size = count_members(*text, vocab);
  }
  return summary;
}

}  // namespace lancet
