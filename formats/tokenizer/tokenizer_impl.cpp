#include "formats/tokenizer/tokenizer_impl.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/model_json.h"

namespace lancet {
namespace {

const Json kNull;

const Json& part(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

/// The description without what the model keeps itself, and without truncation and padding.
Json without_tables(const Json& description) {
  Json out = Json::object();
  for (const auto& [key, value] : description.items()) {
    if (key == "truncation" || key == "padding") {
      out[key] = nullptr;
    } else if (key != "model") {
      out[key] = value;
    } else {
      Json model = Json::object();
      for (const auto& [name, member] : value.items()) {
        if (name != "vocab" && name != "merges") model[name] = member;
      }
      out[key] = std::move(model);
    }
  }
  return out;
}

bool is_filled(const Json& object, std::string_view key) {
  const Json& value = part(object, key);
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

}  // namespace

std::unique_ptr<EncodeScratch> ScratchPool::take(const TokenModel& model) {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  auto scratch = std::make_unique<EncodeScratch>();
  scratch->model = model.make_scratch();
  return scratch;
}

void ScratchPool::give_back(std::unique_ptr<EncodeScratch> scratch) {
  scratch->arena.release();
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

void number_tokens(const AddedTokens& tokens, Json& list) {
  for (Json& token : list) {
    if (!token.is_object() || !token.contains("id") || !token["id"].is_null()) continue;
    const AddedToken* found = tokens.find(token.at("content").get_ref<const std::string&>());
    if (found != nullptr) token["id"] = static_cast<std::uint32_t>(found->id);
  }
}

TokenizerParts described_parts(const Json& description, const Where& where, PreTokenizers pre,
                               std::unique_ptr<TokenModel> model, const DeclaredTokens& declared) {
  TokenizerParts parts;
  parts.description = without_tables(description);
  Json added = part(parts.description, "added_tokens");
  if (declared.add_to(added)) parts.description["added_tokens"] = std::move(added);
  parts.normalizer =
      make_normalizer(part(parts.description, "normalizer"), where.key("normalizer"));
  parts.pre = std::move(pre);
  parts.added = AddedTokens(part(parts.description, "added_tokens"), where.key("added_tokens"),
                            model->vocabulary(), parts.normalizer.get());
  if (const auto list = parts.description.find("added_tokens"); list != parts.description.end())
    number_tokens(parts.added, *list);
  parts.model = std::move(model);
  return parts;
}

Tokenizer::Impl::Impl(TokenizerParts parts, const Where& where)
    : description(std::move(parts.description)),
      normalizer(std::move(parts.normalizer)),
      pre(std::move(parts.pre)),
      model(std::move(parts.model)),
      post(part(description, "post_processor"), where.key("post_processor")),
      decoders(part(description, "decoder"), where.key("decoder")),
      added(std::move(parts.added)),
      bos(post.first()),
      eos(post.last()),
      max_id(std::max(model->vocabulary().max_id(), added.max_id())) {
  post.check_ids([&](TokenId id) { return piece(id).has_value(); }, where.key("post_processor"));
  const auto count = static_cast<std::size_t>(max_id) + 1;
  dense_ = count <= 2 * model->vocabulary().size() + 65536;
  if (decoders.is_byte_level() && dense_) spell_pieces();
}

const FragmentTable* Tokenizer::Impl::fragments() const {
  if (!decoders.is_simple() || !dense_) return nullptr;
  std::call_once(fragments_made_, [this] {
    fragments_.emplace(
        decoders, static_cast<std::size_t>(max_id) + 1, [this](TokenId id) { return piece(id); },
        [this](TokenId id) { return is_special(id); });
  });
  return &*fragments_;
}

void Tokenizer::Impl::spell_pieces() {
  const auto count = static_cast<std::size_t>(max_id) + 1;
  spelled_.reserve(model->vocabulary().bytes());
  spelled_ends_.reserve(count);
  special_.assign(count, false);
  for (TokenId id = 0; id <= max_id; ++id) {
    if (const auto text = piece(id)) append_piece_bytes(*text, spelled_);
    spelled_ends_.push_back(static_cast<std::uint32_t>(spelled_.size()));
    special_[static_cast<std::size_t>(id)] = is_special(id);
  }
}

std::optional<std::string_view> Tokenizer::Impl::piece(TokenId id) const {
  if (const AddedToken* token = added.find(id)) return token->decoded;
  return model->vocabulary().piece(id);
}

bool Tokenizer::Impl::is_special(TokenId id) const {
  const AddedToken* token = added.find(id);
  return token != nullptr && token->skipped;
}

void Tokenizer::Impl::append_bytes(TokenId id, bool skip_special, std::string& bytes) const {
  const auto index = static_cast<std::size_t>(id);
  if (id >= 0 && index < spelled_ends_.size()) {
    if (skip_special && special_[index]) return;
    const std::size_t begin = index == 0 ? 0 : spelled_ends_[index - 1];
    bytes.append(spelled_, begin, spelled_ends_[index] - begin);
    return;
  }
  if (skip_special && is_special(id)) return;
  if (const auto text = piece(id)) append_piece_bytes(*text, bytes);
}

void check_version(const Json& description, const Where& where) {
  const Json& version = part(description, "version");
  if (version.is_null() || version == "1.0") return;
  where.key("version").fail_input(
      fmt::format("expected \"1.0\", found {}", printable(dump_json(version), 40)));
}

PreTokenizers make_pre_tokenizers(const Json& description, std::string_view type,
                                  const Where& where) {
  const Json& model = part(description, "model");
  const bool raw_bytes = type == "BPE" && !is_filled(model, "continuing_subword_prefix") &&
                         !is_filled(model, "end_of_word_suffix");
  return {part(description, "pre_tokenizer"), where.key("pre_tokenizer"), raw_bytes};
}

std::shared_ptr<Tokenizer::Impl> make_tokenizer(const Json& tokenizer_json, std::string_view source,
                                                const DeclaredTokens& declared) {
  const Where where{std::string(source), "", 0};
  const Json& model = where.member(tokenizer_json, "model");
  const Where model_where = where.key("model");
  check_version(tokenizer_json, where);
  const std::string type = model_type(model, model_where);
  PreTokenizers pre = make_pre_tokenizers(tokenizer_json, type, where);
  auto token_model = make_model(type, model, model_where, pre.raw_bytes());
  return std::make_shared<Tokenizer::Impl>(
      described_parts(tokenizer_json, where, std::move(pre), std::move(token_model), declared),
      where);
}

}  // namespace lancet
