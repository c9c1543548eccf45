#include "model/architecture.h"

#include "core/error.h"
#include "core/text.h"
#include "model/config_reader.h"

namespace lancet {

DecoderSpec describe_decoder(const Json& config) {
  if (!config.is_object()) fail_config("config", config, "an object");
  const std::string name = json_string(config, "model_type", "config.json", "");
  std::vector<std::string_view> known;
  std::string list;
  for (const Architecture* architecture : architecture_registry()) {
    if (architecture->name == name) return architecture->describe(config);
    known.push_back(architecture->name);
    list += (list.empty() ? "" : ", ") + std::string(architecture->name);
  }
  const std::string guess = did_you_mean(name, known);
  fail(ErrorKind::kMismatch, "model",
       "expected a model_type out of " + list + ", found '" + printable(name) + "' (config.json)",
       guess.empty() ? "lancet list architectures" : guess);
}

}  // namespace lancet
