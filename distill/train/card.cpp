#include "distill/train/card.h"

#include <fmt/format.h>

#include "core/log.h"
#include "core/text.h"
#include "distill/licence.h"

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
  if (result["saved_step"] != result["steps"])
    out += fmt::format("- these are the values of step {}, the best of them\n",
                       result["saved_step"].dump());
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

void add_licences(const TrainRequest& request, AdapterFile& file) {
  LicenceDuties duties;
  for (const fs::path& path : request.data) duties.add_data(path);
  if (duties.empty()) return;
  file.readme += "\n" + duties.card();
  file.manifest["licence"] = duties.json();
  file.notice = duties.notice();
  const std::string name = request.out.filename().string();
  for (const Json& duty : duties.json()["duties"]) {
    const std::string prefix = duty.value("name_prefix", "");
    if (!name.starts_with(prefix))
      log::warn(
          fmt::format("the {} wants a name that begins with \"{}\" when the adapter is "
                      "given away; this one is '{}'",
                      duty["title"].get<std::string>(), prefix, printable(name)));
  }
}

}  // namespace lancet
