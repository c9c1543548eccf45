// lancet show: the edits in a delta or undo file, or in an edited model.

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"
#include "surgery/files/delta.h"

namespace lancet {
namespace {

std::string result_text(const Json& d) {
  Table tensors({{"tensor"},
                 {"layer", Table::Align::kRight},
                 {"rank", Table::Align::kRight},
                 {"norm", Table::Align::kRight}});
  for (const auto& t : d.value("tensors", Json::array())) {
    tensors.add({t.value("name", ""), t.value("layer", Json()).dump(),
                 t.value("rank", Json()).dump(),
                 t.contains("norm") ? fmt::format("{:.4g}", t["norm"].get<double>()) : "-"});
  }
  Table edits({{"id"}, {"prompt"}, {"target"}, {"stage", Table::Align::kRight}});
  for (const auto& e : d.value("edits", Json::array())) {
    std::string prompt = e.value("prompt", "");
    if (const auto at = prompt.find("{}"); at != std::string::npos)
      prompt.replace(at, 2, e.value("subject", ""));
    edits.add({e.value("id", ""), printable(prompt, 60), printable(e.value("target", ""), 40),
               e.value("stage", Json()).dump()});
  }
  return fmt::format("{} file, {} edit(s)\n\n", d.value("kind", ""),
                     d.value("edits", Json::array()).size()) +
         edits.text() + "\n" + tensors.text();
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto file = std::make_shared<std::string>();
  app.add_option("F", *file, "A delta file, an undo file, or an edited model")->required();
  return [file, &common] {
    const Json document = describe_delta(*file);
    common.json ? print_json(document) : print_text(result_text(document));
    return 0;
  };
}

}  // namespace

extern const Command command_show{
    .name = "show",
    .group = "Surgery",
    .summary = "The edits in a delta file or in an edited model",
    .examples = "  lancet show edited/\n  lancet show facts.delta.safetensors --json",
    .declare = declare};

}  // namespace lancet
