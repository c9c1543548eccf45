#include "distill/train/card.h"

#include <fmt/format.h>

namespace lancet {

std::string adapter_card(const TrainRequest& request, const LoraAdapter& adapter,
                         const Json& result) {
  const std::string base = request.model.string();
  const Json& config = adapter.config();
  std::string out = fmt::format(
      "---\nbase_model: {0}\nbase_model_relation: adapter\nlibrary_name: peft\ntags:\n"
      "- base_model:adapter:{0}\n- lora\n- lancet\n---\n\n# {1}\n\n"
      "A LoRA adapter for `{0}`, trained with `lancet train`.\n\n",
      base, request.out.filename().string());
  out += fmt::format("- loss {}, {} steps, {} tokens, last loss {:.4f}\n", request.loss,
                     result["steps"].dump(), result["tokens"].dump(),
                     result["final_loss"].get<double>());
  if (result.contains("eval_loss"))
    out += fmt::format("- held-out loss {:.4f}\n", result["eval_loss"].get<double>());
  out += fmt::format("- rank {}, alpha {}, dropout {}, {} trained values\n",
                     config.value("r", Json()).dump(), config.value("lora_alpha", Json()).dump(),
                     config.value("lora_dropout", Json()).dump(), adapter.parameter_count());
  out += fmt::format("- {}, learning rate {}, schedule {}\n", request.optimizer.name,
                     request.optimizer.lr, request.schedule.name);
  for (const fs::path& path : request.data)
    out += fmt::format("- data `{}`\n", path.filename().string());
  return out + "\nSettings, inputs and hashes stand in `lancet.json`.\n";
}

}  // namespace lancet
