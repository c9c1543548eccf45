#include "formats/tokenizer/post_processor.h"

#include <utility>

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {
namespace {

constexpr std::size_t kItemLimit = 4096;

std::vector<TokenId> special_ids(const Json& description, const std::string& name,
                                 const Where& where) {
  const Json& table = where.member(description, "special_tokens");
  if (!table.is_object() || !table.contains(name)) {
    where.key("special_tokens")
        .fail_input(fmt::format("the template's '{}' is missing", printable(name, 60)));
  }
  std::vector<TokenId> ids;
  for (const Json& item : where.array(table.at(name), "ids")) {
    const auto id = as_token_id(item);
    if (!id) {
      where.key("special_tokens")
          .fail_input(fmt::format("'{}' has an id that is none", printable(name, 60)));
    }
    ids.push_back(*id);
  }
  return ids;
}

/// ["</s>", 2] of Bert and Roberta.
TokenId named_id(const Json& description, std::string_view key, const Where& where) {
  const Json::array_t& pair = where.array(description, key);
  const auto id = pair.size() == 2 && pair[0].is_string() ? as_token_id(pair[1]) : std::nullopt;
  if (!id) where.key(key).fail_input("expected [token, id]");
  return *id;
}

}  // namespace

PostProcessor::PostProcessor(const Json& description, const Where& where) {
  add(description, where);
}

void PostProcessor::add(const Json& description, const Where& where) {
  if (description.is_null()) return;
  const std::string type = where.string(description, "type");
  if (type == "ByteLevel") return;
  if (type == "TemplateProcessing") return add_template(description, where);
  if (type == "BertProcessing" || type == "RobertaProcessing") return add_pair(description, where);
  if (type != "Sequence") where.fail_unsupported("post-processor", type);
  const Json::array_t& list = where.array(description, "processors");
  for (std::size_t i = 0; i < list.size(); ++i) add(list[i], where.component("processors", i));
}

void PostProcessor::add_template(const Json& description, const Where& where) {
  const Json::array_t& single = where.array(description, "single");
  if (single.size() > kItemLimit) where.key("single").fail_input("too many items");
  Template items;
  bool has_text = false;
  for (const Json& piece : single) {
    const Where here = where.key("single");
    Item item;
    if (piece.is_object() && piece.contains("Sequence")) {
      if (here.string(piece.at("Sequence"), "id") != "A")
        here.fail_input("a single template has a sequence B");
      if (has_text) here.fail_unsupported("template", "that repeats the text");
      has_text = item.is_text = true;
    } else {
      item.ids =
          special_ids(description, here.string(here.member(piece, "SpecialToken"), "id"), where);
    }
    items.push_back(std::move(item));
  }
  templates_.push_back(std::move(items));
}

void PostProcessor::add_pair(const Json& description, const Where& where) {
  Template items(3);
  items[0].ids = {named_id(description, "cls", where)};
  items[1].is_text = true;
  items[2].ids = {named_id(description, "sep", where)};
  templates_.push_back(std::move(items));
}

void PostProcessor::apply(Encoding& encoding) const {
  for (const Template& items : templates_) {
    Encoding out;
    for (const Item& item : items) {
      if (item.is_text) {
        out.ids.insert(out.ids.end(), encoding.ids.begin(), encoding.ids.end());
        out.offsets.insert(out.offsets.end(), encoding.offsets.begin(), encoding.offsets.end());
        continue;
      }
      const std::uint32_t at = out.offsets.empty() ? 0 : out.offsets.back().second;
      for (const TokenId id : item.ids) {
        out.ids.push_back(id);
        out.offsets.emplace_back(at, at);
      }
    }
    encoding = std::move(out);
  }
}

void PostProcessor::check_ids(FunctionRef<bool(TokenId)> is_token, const Where& where) const {
  for (const Template& items : templates_) {
    for (const Item& item : items) {
      for (const TokenId id : item.ids) {
        if (!is_token(id)) where.fail_input(fmt::format("the id {} is no token's", id));
      }
    }
  }
}

std::optional<TokenId> PostProcessor::first() const {
  if (templates_.empty() || templates_.back().empty() || templates_.back().front().ids.empty())
    return std::nullopt;
  return templates_.back().front().ids.front();
}

std::optional<TokenId> PostProcessor::last() const {
  if (templates_.empty() || templates_.back().empty() || templates_.back().back().ids.empty())
    return std::nullopt;
  return templates_.back().back().ids.back();
}

Json template_processor(const std::optional<NamedToken>& bos,
                        const std::optional<NamedToken>& eos) {
  if (!bos && !eos) return nullptr;
  Json single = Json::array();
  Json pair = Json::array();
  Json table = Json::object();
  const auto special = [&](const std::optional<NamedToken>& token) {
    if (!token) return;
    const auto& [id, content] = *token;
    const Json item = {{"SpecialToken", {{"id", content}, {"type_id", 0}}}};
    single.push_back(item);
    pair.push_back(item);
    Json entry = {{"id", content}};
    entry["ids"] = Json::array({id});
    entry["tokens"] = Json::array({content});
    table[content] = std::move(entry);
  };
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  special(bos);
  single.push_back(text);
  pair.push_back(text);
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  special(eos);
  Json out = {{"type", "TemplateProcessing"}};
  out["single"] = std::move(single);
  out["pair"] = std::move(pair);
  out["special_tokens"] = std::move(table);
  return out;
}

}  // namespace lancet
