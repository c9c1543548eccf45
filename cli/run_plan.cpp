#include "cli/run_plan.h"

#include "cli/engine.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {

int print_run_plan(const fs::path& model, const CommonOptions& common) {
  const Json plan = open_engine(common.runtime).plan_run(model, common.runtime);
  if (common.json) {
    print_json(plan);
    return 0;
  }
  const auto bytes = [&](const char* key) { return human_bytes(plan[key].get<std::uint64_t>()); };
  Table table({{"plan"}, {""}});
  table.add({"model", fmt::format("{}, {} layers", plan["architecture"].get<std::string>(),
                                  plan["layers"].dump())});
  table.add({"weights in files", bytes("weights_stored")});
  table.add(
      {"weights in memory",
       bytes("weights_memory") +
           (plan["offload"] == "disk" ? ", matrices are read from disk as they are used" : "")});
  table.add({"memory", "about " + bytes("peak_memory")});
  print_text(table.text());
  return 0;
}

}  // namespace lancet
