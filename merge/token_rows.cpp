// warnings_of_rows of merge/tokens.h.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/whole_json.h"
#include "merge/tokens.h"

namespace lancet {
namespace {

/// What whole_tokenizer_json says of ids.
std::vector<std::string> tokens_by_id(const Json& json) {
  constexpr std::int64_t kMostTokens = 8 << 20;  // what no vocabulary comes near
  std::vector<std::string> out;
  const auto put = [&](const Json& id, const Json& token) {
    if (!id.is_number_integer() || !token.is_string()) return;
    const auto at = id.get<std::int64_t>();
    if (at < 0 || at >= kMostTokens) return;
    if (static_cast<std::size_t>(at) >= out.size()) out.resize(static_cast<std::size_t>(at) + 1);
    out[static_cast<std::size_t>(at)] = token.get<std::string>();
  };
  const Json& vocabulary = json.at("model").at("vocab");
  if (vocabulary.is_array()) {
    for (std::size_t id = 0; id < vocabulary.size(); ++id) put(id, vocabulary[id].at(0));
  } else {
    for (const auto& [token, id] : vocabulary.items()) put(id, token);
  }
  for (const Json& added : json.value("added_tokens", Json::array()))
    put(added.at("id"), added.at("content"));
  return out;
}

using Files = std::map<std::string, std::string>;

std::optional<std::vector<std::string>> tokens_by_id(const Files& files) {
  try {
    return tokens_by_id(whole_tokenizer_json(files));
  } catch (const Error&) {
    return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

Files tokenizer_files(const MergeInput& input) {
  Files files = input.side_files();
  std::erase_if(files, [](const auto& file) { return !is_tokenizer_file(file.first); });
  return files;
}

}  // namespace

std::vector<std::string> warnings_of_rows(
    const std::vector<std::shared_ptr<const MergeInput>>& inputs,
    const std::vector<std::size_t>& merged) {
  std::vector<std::string> out;
  if (merged.size() < 2) return out;
  const MergeInput& first = *inputs[merged[0]];
  const Files files = tokenizer_files(first);
  std::optional<std::vector<std::string>> own;  // read where a file differs
  for (std::size_t i = 1; i < merged.size(); ++i) {
    const MergeInput& other = *inputs[merged[i]];
    const Files others_files = tokenizer_files(other);
    if (others_files == files) continue;
    if (!own) own = tokens_by_id(files);
    const auto others = tokens_by_id(others_files);
    if (!own || !others) continue;
    for (std::size_t id = 0; id < std::min(own->size(), others->size()); ++id) {
      const std::string &a = (*own)[id], &b = (*others)[id];
      if (a == b || a.empty() || b.empty()) continue;
      out.push_back(fmt::format(
          "'{}' and '{}' have different vocabularies: the id {} is '{}' in the first and '{}' in "
          "the second, and rows are merged by number (tokenizer_source: union matches them by "
          "token)",
          printable(first.text(), 200), printable(other.text(), 200), id, printable(a, 60),
          printable(b, 60)));
      break;
    }
  }
  return out;
}

}  // namespace lancet
