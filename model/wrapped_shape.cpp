#include "model/wrapped_shape.h"

#include <string>

#include "model/llama_shape.h"
#include "model/names.h"

namespace lancet {
namespace {

bool says(const Json& config, std::string_view key) {
  const auto at = config.find(key);
  return at != config.end() && !at->is_null();
}

/// text_config with what it leaves out.
Json text_config(const Json& config, const WrappedDefaults& defaults) {
  const auto found = config.find("text_config");
  const bool absent = found == config.end() || found->is_null();
  if (!absent && !found->is_object()) fail_config("text_config", *found, "an object");
  Json text = absent ? Json::object() : *found;
  if (!says(text, "model_type")) text["model_type"] = defaults.fallback_type;
  if (!text["model_type"].is_string() || text.contains("text_config"))
    fail_config("text_config", text["model_type"], "the config of a decoder");
  const Json missing = defaults.defaults(text["model_type"].get<std::string>());
  for (const auto& [key, value] : missing.items()) {
    if (!text.contains(key)) text[key] = value;
  }
  const bool tied = read_flag(config, "tie_word_embeddings", defaults.tied_head) ||
                    read_flag(text, "tie_word_embeddings", false);
  text["tie_word_embeddings"] = tied;
  return text;
}

}  // namespace

DecoderSpec read_wrapped_shape(const Json& config, std::string_view model_type,
                               const WrappedDefaults& defaults) {
  refuse_quantization(config);
  DecoderSpec spec = describe_decoder(text_config(config, defaults));
  spec.model_type = model_type;
  add_prefix(spec, "language_model.");
  spec.respellings = {
      {{"language_model.model.", "model.language_model."}, {"language_model.lm_head", "lm_head"}}};
  for (const std::string prefix : {"", "model."}) {
    spec.ignored.push_back(prefix + "vision_tower.{}");
    spec.ignored.push_back(prefix + "multi_modal_projector.{}");
  }
  return spec;
}

}  // namespace lancet
