#include "merge/token_union.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/model_json.h"
#include "formats/tokenizer/where.h"

namespace lancet {
namespace {

using Pair = std::pair<std::string, std::string>;

std::string type_of(const Json& json, const std::string& label) {
  return model_type(json.at("model"), Where{label, "model", 0});
}

std::string text_in(const Json& model, const char* key) {
  const auto found = model.find(key);
  return found == model.end() || !found->is_string() ? std::string() : found->get<std::string>();
}

/// Pieces are written in the byte alphabet ("Ġthe").
bool is_byte_level(const Json& json) {
  const auto decoder = json.find("decoder");
  return decoder != json.end() && dump_json(*decoder).find("\"ByteLevel\"") != std::string::npos;
}

/// "a b" or ["a", "b"]; nothing for a "#version" line.
std::vector<Pair> merges_in(const Json& model) {
  std::vector<Pair> out;
  for (const Json& merge : model.value("merges", Json::array())) {
    if (merge.is_array()) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const auto line = merge.get<std::string>();
    const std::size_t space = line.find(' ');
    if (!line.starts_with("#version"))
      out.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return out;
}

std::string key_of(const Pair& merge) { return merge.first + '\0' + merge.second; }

/// The list of added tokens by their contents.
std::unordered_map<std::string, const Json*> added_in(const Json& json) {
  std::unordered_map<std::string, const Json*> out;
  const auto list = json.find("added_tokens");
  if (list == json.end() || !list->is_array()) return out;
  for (const Json& token : *list) out.emplace(token.at("content").get<std::string>(), &token);
  return out;
}

}  // namespace

TokenUnion::TokenUnion(Json json, std::vector<std::string> tokens, std::string label)
    : json_(std::move(json)),
      tokens_(std::move(tokens)),
      label_(std::move(label)),
      own_(tokens_.size()),
      merges_(merges_in(json_.at("model"))),
      own_merges_(merges_.size()) {
  for (std::size_t id = 0; id < own_; ++id) {
    if (!tokens_[id].empty()) ids_.emplace(tokens_[id], id);
  }
  for (const Pair& merge : merges_) known_merges_.insert(key_of(merge));
  if (!json_["added_tokens"].is_array()) json_["added_tokens"] = Json::array();
  for (Json& token : json_["added_tokens"]) {
    const auto id = ids_.find(token.at("content").get<std::string>());
    if (id != ids_.end()) token["id"] = id->second;  // as readers count, whatever the file says
  }
}

bool TokenUnion::is_of_one_kind(const Json& json, const std::string& label) {
  const Json &own = json_.at("model"), &other = json.at("model");
  const std::string type = type_of(json_, label_), others = type_of(json, label);
  bool same = type == others;
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    same = same && text_in(own, key) == text_in(other, key);
  if (same && is_byte_level(json_) == is_byte_level(json)) return true;
  warnings_.push_back(fmt::format(
      "the tokenizers of '{}' ({}) and '{}' ({}) cut text in different ways: the tokens that only "
      "the second has get rows, but no text is cut into them",
      printable(label_, 200), type, printable(label, 200), others));
  return false;
}

void TokenUnion::add(const Json& json, const std::vector<std::string>& tokens,
                     const std::string& label) {
  const std::size_t before = tokens_.size();
  const auto added = added_in(json);
  for (const std::string& token : tokens) {
    if (token.empty() || !ids_.emplace(token, tokens_.size()).second) continue;
    if (const auto entry = added.find(token); entry != added.end()) {
      json_["added_tokens"].push_back(*entry->second);
      json_["added_tokens"].back()["id"] = tokens_.size();
    }
    tokens_.push_back(token);
  }
  if (tokens_.size() == before || !is_of_one_kind(json, label)) return;
  if (type_of(json, label) == "BPE") add_merges(json.at("model"));
  if (type_of(json, label) != "Unigram") return;
  for (const Json& piece : json.at("model").at("vocab")) {
    const auto id = ids_.find(piece[0].get<std::string>());
    if (id != ids_.end() && id->second >= before && !added.contains(id->first))
      scores_.emplace(id->first, piece[1].get<double>());
  }
}

void TokenUnion::add(const std::string& token) {
  if (token.empty() || !ids_.emplace(token, tokens_.size()).second) return;
  json_["added_tokens"].push_back({{"id", tokens_.size()},
                                   {"content", token},
                                   {"single_word", false},
                                   {"lstrip", false},
                                   {"rstrip", false},
                                   {"normalized", true},
                                   {"special", false}});
  tokens_.push_back(token);
}

void TokenUnion::add_merges(const Json& model) {
  const std::size_t prefix = text_in(model, "continuing_subword_prefix").size();
  for (Pair& merge : merges_in(model)) {
    const bool known = ids_.contains(merge.first) && ids_.contains(merge.second) &&
                       ids_.contains(merge.first + merge.second.substr(prefix));
    if (known && known_merges_.insert(key_of(merge)).second) merges_.push_back(std::move(merge));
  }
}

void TokenUnion::write_vocabulary() {
  auto& vocabulary = json_["model"]["vocab"].get_ref<Json::object_t&>();
  std::unordered_set<std::string> stored;
  for (const auto& [token, id] : vocabulary) stored.insert(token);
  const auto added = added_in(json_);
  // Not the map's own insertion, which looks through all keys.
  const auto put = [&](std::size_t id) { vocabulary.emplace_back(tokens_[id], Json(id)); };
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    const bool wanted = id >= own_ || added.contains(tokens_[id]);
    if (wanted && !tokens_[id].empty() && !stored.contains(tokens_[id])) put(id);
  }
}

/// Added tokens are cut out of the text before: the least score keeps them out of the rest.
void TokenUnion::write_list() {
  Json& list = json_["model"]["vocab"];
  double least = 0;
  for (const Json& piece : list) least = std::min(least, piece[1].get<double>());
  for (std::size_t id = list.size(); id < tokens_.size(); ++id) {
    const std::string& token = tokens_[id];
    const auto score = scores_.find(token);
    list.push_back({token.empty() ? fmt::format("<|no token {}|>", id) : token,
                    score == scores_.end() ? least : score->second});
  }
}

/// In the form that the file has, where a part holds no blank.
void TokenUnion::write_merges() {
  if (merges_.size() == own_merges_) return;
  Json& list = json_["model"]["merges"];
  const bool lines =
      !list.empty() && list[0].is_string() && std::ranges::none_of(merges_, [](const Pair& merge) {
        return merge.first.find(' ') != std::string::npos ||
               merge.second.find(' ') != std::string::npos;
      });
  list = Json::array();
  for (const auto& [left, right] : merges_)
    list.push_back(lines ? Json(fmt::format("{} {}", left, right)) : Json::array({left, right}));
}

Json TokenUnion::finish() {
  if (type_of(json_, label_) == "Unigram") {
    write_list();
  } else {
    write_vocabulary();
  }
  if (type_of(json_, label_) == "BPE") write_merges();
  return std::move(json_);
}

}  // namespace lancet
