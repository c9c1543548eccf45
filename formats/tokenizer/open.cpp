// The tokenizer of any MODEL: from GGUF metadata or from tokenizer.json and the files beside it.

#include <array>

#include "core/error.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "formats/tokenizer/whole_json.h"

namespace lancet {
namespace {

/// "bos_token_id" of config.json: an id, or a list whose first one counts.
std::optional<TokenId> configured_id(const Json& config, std::string_view key, TokenId max_id) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  const auto id = as_token_id(found->is_array() && !found->empty() ? found->at(0) : *found);
  return id && *id <= max_id ? id : std::nullopt;
}

/// Names that tokenizers of other forms than tokenizer.json go by.
constexpr std::uint64_t kMaxBytes = 256U << 20U;
constexpr std::array kModelNames = {"tokenizer.model", "spiece.model",   "sentencepiece.bpe.model",
                                    "spm.model",       "tiktoken.model", "tokenizer.tiktoken",
                                    "qwen.tiktoken"};

/// Null where none of the files is a tokenizer. `place`: names the directory, "" or with a slash.
std::shared_ptr<Tokenizer::Impl> read_files(const SideFileReader& read, const std::string& place,
                                            const DeclaredTokens& declared) {
  if (const auto text = read("tokenizer.json"))
    return make_tokenizer(std::string_view(*text), place + "tokenizer.json", declared);
  for (const char* name : kModelNames) {
    if (const auto text = read(name)) return read_model_file(*text, place + name, declared);
  }
  return nullptr;
}

/// bos_token and eos_token as the files beside the tokenizer name them.
void apply_configuration(const SideFileReader& read, const DeclaredTokens& declared,
                         Tokenizer::Impl& impl) {
  const auto text = read("config.json");
  Json config = text ? parse_json(*text, "config.json") : Json::object();
  if (!config.is_object()) config = Json::object();
  const auto resolve = [&](std::string_view name, std::optional<TokenId>& id) {
    const std::string key(name);
    const Json* token = declared.role(name);
    if (token != nullptr && token->is_object()) {
      const auto& content = token->at("content").get_ref<const std::string&>();
      const AddedToken* added = impl.added.find(content);
      id = added != nullptr ? std::optional(added->id) : impl.model->vocabulary().find(content);
    } else if (token != nullptr) {
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
  const bool directory = fs::is_directory(model);
  const fs::path folder = directory                 ? model
                          : model.has_parent_path() ? model.parent_path()
                                                    : fs::path(".");
  const SideFileReader read = [&](std::string_view name) { return read_side_file(folder, name); };
  if (directory) {
    const DeclaredTokens declared = read_declared_tokens(read);
    auto impl = read_files(read, (model / "").string(), declared);
    if (!impl) {
      fail(ErrorKind::kInput, "tokenizer",
           "expected a tokenizer.json in " + model.string() + ", found none",
           "a model directory needs one for commands that read text");
    }
    apply_configuration(read, declared, *impl);
    return Tokenizer(std::move(impl));
  }
  if (is_weights(model) || !fs::is_regular_file(model)) return open(ModelSource::open(model));
  const std::string text = read_file(model, kMaxBytes);
  if (text.starts_with("GGUF")) return open(ModelSource::open(model));
  if (text.find_first_not_of(" \t\r\n") < text.size() && model.extension() == ".json")
    return Tokenizer(make_tokenizer(std::string_view(text), model.string()));
  return Tokenizer(read_model_file(text, model.string(), read_declared_tokens(read)));
}

Json whole_tokenizer_json(const std::map<std::string, std::string>& side_files,
                          const std::string& place) {
  const SideFileReader read = [&](std::string_view name) -> std::optional<std::string> {
    const auto found = side_files.find(std::string(name));
    return found == side_files.end() ? std::nullopt : std::optional(found->second);
  };
  const DeclaredTokens declared = read_declared_tokens(read);
  if (const auto text = read("tokenizer.json")) {
    Json own = parse_json(*text, place + "tokenizer.json");
    if (!own.is_object()) return own;
    Json added = own.value("added_tokens", Json());
    if (!declared.add_to(added)) return own;
  }
  const auto impl = read_files(read, place, declared);
  return impl ? Tokenizer(impl).json() : Json();
}

}  // namespace lancet
