// The tokenizer of any MODEL: from GGUF metadata or from tokenizer.json and the files beside it.

#include <array>

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

Json side_object(const fs::path& directory, const char* name) {
  const auto text = read_side_file(directory, name);
  if (!text) return Json::object();
  Json value = parse_json(*text, (directory / name).string());
  return value.is_object() ? value : Json::object();
}

/// Names that tokenizers of other forms than tokenizer.json go by.
constexpr std::uint64_t kMaxBytes = 256U << 20U;
constexpr std::array kModelNames = {"tokenizer.model", "spiece.model",   "sentencepiece.bpe.model",
                                    "spm.model",       "tiktoken.model", "tokenizer.tiktoken",
                                    "qwen.tiktoken"};

std::shared_ptr<Tokenizer::Impl> read_directory(const fs::path& directory) {
  if (const auto text = read_side_file(directory, "tokenizer.json")) {
    const std::string path = (directory / "tokenizer.json").string();
    return make_tokenizer(std::string_view(*text), path);
  }
  for (const char* name : kModelNames) {
    if (const auto text = read_side_file(directory, name))
      return read_model_file(*text, directory / name);
  }
  fail(ErrorKind::kInput, "tokenizer",
       "expected a tokenizer.json in " + directory.string() + ", found none",
       "a model directory needs one for commands that read text");
}

/// bos_token and eos_token as the files beside the tokenizer name them.
void apply_configuration(const fs::path& directory, Tokenizer::Impl& impl) {
  const Json tokenizer_config = side_object(directory, "tokenizer_config.json");
  const Json config = side_object(directory, "config.json");
  const auto resolve = [&](std::string_view name, std::optional<TokenId>& id) {
    const std::string key(name);
    if (const auto token = named_token(tokenizer_config, key)) {
      const AddedToken* added = impl.added.find(*token);
      id = added != nullptr ? std::optional(added->id) : impl.model->vocabulary().find(*token);
    } else if (tokenizer_config.contains(key)) {
      id.reset();
    } else if (const auto configured = configured_id(config, key + "_id", impl.max_id)) {
      id = configured;
    }
  };
  resolve("bos_token", impl.bos);
  resolve("eos_token", impl.eos);
}

bool is_weights(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".gguf") || name.ends_with(".safetensors") || name.ends_with(".index.json");
}

}  // namespace

Tokenizer Tokenizer::open(const ModelSource& source) {
  const Checkpoint& checkpoint = source.checkpoint();
  if (const GgufHeader* header = checkpoint.gguf()) return from_gguf(*header);
  if (checkpoint.form() != CheckpointForm::kHuggingFace) {
    fail(ErrorKind::kInput, "tokenizer",
         "expected a tokenizer.json in " + checkpoint.path().string() + ", found none",
         "a model directory needs one for commands that read text");
  }
  return open(checkpoint.path());
}

Tokenizer Tokenizer::open(const fs::path& model) {
  std::shared_ptr<Impl> impl;
  if (fs::is_directory(model)) {
    impl = read_directory(model);
    apply_configuration(model, *impl);
    return Tokenizer(std::move(impl));
  }
  if (is_weights(model) || !fs::is_regular_file(model)) return open(ModelSource::open(model));
  const std::string text = read_file(model, kMaxBytes);
  if (text.starts_with("GGUF")) return open(ModelSource::open(model));
  if (text.find_first_not_of(" \t\r\n") < text.size() && model.extension() == ".json")
    return Tokenizer(make_tokenizer(std::string_view(text), model.string()));
  return Tokenizer(read_model_file(text, model));
}

}  // namespace lancet
