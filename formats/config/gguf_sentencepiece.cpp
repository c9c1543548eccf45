#include "formats/config/gguf_sentencepiece.h"

#include <string_view>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kMarker = "\xE2\x96\x81";  // stands for a blank
enum TokenType : std::int64_t { kNormal = 1, kUnknown = 2, kByte = 6 };

using Ids = std::unordered_map<std::string_view, std::size_t>;

[[noreturn]] void unsupported(const std::string& message) {
  fail(ErrorKind::kMismatch, "gguf", "tokenizer.json: " + message,
       "write a Hugging Face directory instead");
}

const Json& member(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::vector<Json> steps_of(const Json& component, std::string_view key) {
  if (component.is_null()) return {};
  if (member(component, "type") != "Sequence") return {component};
  const Json& list = member(component, key);
  return list.is_array() ? std::vector<Json>(list.begin(), list.end()) : std::vector<Json>();
}

bool replaces_blanks(const Json& step) {
  return member(step, "type") == "Replace" && member(member(step, "pattern"), "String") == " " &&
         member(step, "content") == kMarker;
}

/// Metaspace that only replaces blanks, or the Split on blanks that finds none of them any more.
bool is_harmless(const Json& step) {
  if (member(step, "type") == "Metaspace")
    return member(step, "replacement") == kMarker && member(step, "split") == false;
  return member(step, "type") == "Split" && member(member(step, "pattern"), "String") == " ";
}

void check_splitting(const Json& tokenizer) {
  bool replaced = false;
  for (const Json& step : steps_of(member(tokenizer, "normalizer"), "normalizers")) {
    const bool prefix = member(step, "type") == "Prepend" && member(step, "prepend") == kMarker;
    replaced = replaced || replaces_blanks(step);
    if (!prefix && !replaces_blanks(step))
      unsupported("the normalizer " + printable(dump_json(step), 80) + " has no GGUF form");
  }
  for (const Json& step : steps_of(member(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    if (!is_harmless(step) || (member(step, "type") == "Split" && !replaced))
      unsupported("the pre-tokenizer " + printable(dump_json(step), 80) + " has no GGUF form");
    replaced = replaced || member(step, "type") == "Metaspace";
  }
  if (!replaced) unsupported("expected blanks to become U+2581");
}

/// The two parts of a merge: "a b" or ["a", "b"].
std::pair<std::string, std::string> parts_of(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
  const std::size_t blank = text.find(' ');
  if (blank == std::string::npos) {
    fail(ErrorKind::kInput, "gguf",
         "tokenizer.json: model.merges: expected two pieces, found " +
             printable(dump_json(merge), 80));
  }
  return {text.substr(0, blank), text.substr(blank + 1)};
}

/// In how many ways two pieces make this one.
std::size_t count_cuts(std::string_view piece, const Ids& ids) {
  std::size_t count = 0;
  for (std::size_t at = 1; at < piece.size(); ++at) {
    if ((static_cast<unsigned char>(piece[at]) & 0xC0U) == 0x80U) continue;
    if (ids.contains(piece.substr(0, at)) && ids.contains(piece.substr(at))) ++count;
  }
  return count;
}

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with(">");
}

}  // namespace

bool is_sentencepiece_bpe(const Json& tokenizer) {
  const Json& model = member(tokenizer, "model");
  return member(model, "type") == "BPE" && member(model, "byte_fallback") == true;
}

bool adds_space_prefix(const Json& tokenizer) {
  for (const Json& step : steps_of(member(tokenizer, "normalizer"), "normalizers"))
    if (member(step, "type") == "Prepend") return true;
  for (const Json& step : steps_of(member(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    if (member(step, "type") == "Metaspace") {
      const Json& scheme = member(step, "prepend_scheme");
      return scheme.is_string() ? scheme != "never" : member(step, "add_prefix_space") != false;
    }
  }
  return false;
}

std::vector<double> sentencepiece_scores(const Json& tokenizer,
                                         const std::vector<std::string>& tokens,
                                         std::vector<std::int64_t>& types) {
  check_splitting(tokenizer);
  const Json& model = member(tokenizer, "model");
  if (member(model, "ignore_merges") == true) unsupported("ignore_merges has no GGUF form here");
  Ids ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], id);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == kNormal && is_byte_piece(tokens[id])) types[id] = kByte;
    if (member(model, "unk_token") == tokens[id]) types[id] = kUnknown;
  }
  std::vector<double> scores(tokens.size(), 0.0);
  std::vector<std::size_t> merges(tokens.size(), 0);  // that make the piece
  double place = 0;
  std::string last;
  for (const Json& merge : member(model, "merges")) {
    const auto [left, right] = parts_of(merge);
    const std::string result = left + right;
    const auto found = ids.find(result);
    if (found == ids.end() || !ids.contains(left) || !ids.contains(right)) {
      fail(ErrorKind::kInput, "gguf",
           fmt::format("tokenizer.json: model.merges: '{} {}' is not in the vocabulary",
                       printable(left, 60), printable(right, 60)));
    }
    if (result != last && merges[found->second] > 0)
      unsupported(fmt::format("the merges that make '{}' are not together", printable(result, 60)));
    if (result != last) scores[found->second] = -(++place);
    ++merges[found->second];
    last = result;
  }
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == kNormal && merges[id] != count_cuts(tokens[id], ids)) {
      unsupported(fmt::format("'{}' has {} merges, its parts allow {}", printable(tokens[id], 60),
                              merges[id], count_cuts(tokens[id], ids)));
    }
  }
  return scores;
}

}  // namespace lancet
