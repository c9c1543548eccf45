#include "cli/run_plan.h"

#include "cli/engine.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {

std::string about_bytes(const Json& bytes) {
  return bytes.is_null() ? "not known" : "about " + human_bytes(bytes.get<std::uint64_t>());
}

std::string about_seconds(const Json& seconds) {
  return seconds.is_null() ? "not known" : fmt::format("about {:.1f} s", seconds.get<double>());
}

std::string numbers_text(const Json& numbers) {
  std::string out;
  for (const Json& each : numbers) out += (out.empty() ? "" : ", ") + each.dump();
  return out;
}

int print_run_plan(const fs::path& model, std::uint64_t beside, const CommonOptions& common) {
  Json plan = open_engine(common.runtime).plan_run(model, common.runtime);
  plan["peak_memory"] = plan["peak_memory"].get<std::uint64_t>() + beside;
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
  table.add({"memory", about_bytes(plan["peak_memory"])});
  table.add({"time", about_seconds(plan["seconds"])});
  print_text(table.text());
  return 0;
}

}  // namespace lancet
