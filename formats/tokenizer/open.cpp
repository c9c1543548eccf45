// The tokenizer of any MODEL: from GGUF metadata or from tokenizer.json and the files beside it.

#include "core/error.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

/// "bos_token" of tokenizer_config.json: a string, or an object with its content, or null.
std::optional<std::string> named_token(const Json& config, std::string_view key) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && found->at("content").is_string()) {
    return found->at("content").get<std::string>();
  }
  return std::nullopt;
}

/// "bos_token_id" of config.json: an id, or a list whose first one counts.
std::optional<TokenId> configured_id(const Json& config, std::string_view key, TokenId max_id) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  const auto id = as_token_id(found->is_array() && !found->empty() ? found->at(0) : *found);
  return id && *id <= max_id ? id : std::nullopt;
}

Json side_object(const Checkpoint& checkpoint, const char* name) {
  const auto text = checkpoint.side_file(name);
  if (!text) return Json::object();
  Json value = parse_json(*text, (checkpoint.path() / name).string());
  return value.is_object() ? value : Json::object();
}

}  // namespace

Tokenizer Tokenizer::open(const ModelSource& source) {
  const Checkpoint& checkpoint = source.checkpoint();
  if (const GgufHeader* header = checkpoint.gguf()) return from_gguf(*header);
  const auto text = checkpoint.side_file("tokenizer.json");
  if (!text) {
    fail(ErrorKind::kInput, "tokenizer",
         "expected a tokenizer.json in " + checkpoint.path().string() + ", found none",
         "a model directory needs one for commands that read text");
  }
  const std::string path = (checkpoint.path() / "tokenizer.json").string();
  auto impl = make_tokenizer(parse_json(*text, path), path);
  const Json tokenizer_config = side_object(checkpoint, "tokenizer_config.json");
  const Json config = side_object(checkpoint, "config.json");
  const auto resolve = [&](std::string_view name, std::optional<TokenId>& id) {
    const std::string key(name);
    if (const auto token = named_token(tokenizer_config, key)) {
      const AddedToken* added = impl->added.find(*token);
      id = added != nullptr ? std::optional(added->id) : impl->model->vocabulary().find(*token);
    } else if (tokenizer_config.contains(key)) {
      id.reset();
    } else if (const auto configured = configured_id(config, key + "_id", impl->max_id)) {
      id = configured;
    }
  };
  resolve("bos_token", impl->bos);
  resolve("eos_token", impl->eos);
  return Tokenizer(std::move(impl));
}

}  // namespace lancet
