// lancet undo: take edits out of a model again, bit for bit.

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "surgery/files/undo.h"

namespace lancet {
namespace {

struct UndoCommand {
  std::string model, out;
  std::vector<std::string> ids;
  bool in_place = false;
};

std::string joined(const Json& list) {
  std::string out;
  for (const auto& item : list) out += (out.empty() ? "" : ", ") + item.get<std::string>();
  return out.empty() ? "none" : out;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<UndoCommand>();
  app.add_option("EDITED", o->model, "A model that lancet edited")->required();
  app.add_option("--edit", o->ids, "Take out this edit only; may be given more than once")
      ->take_all();
  auto* out = app.add_option("-o,--out", o->out, "Where to write");
  auto* in_place = app.add_flag("--in-place", o->in_place, "Replace EDITED itself");
  out->excludes(in_place);
  return [o, &common] {
    if (o->out.empty() && !o->in_place)
      fail(ErrorKind::kUsage, "undo", "expected -o OUT or --in-place, found neither");
    if (!o->out.empty() && !common.plan) check_output("undo", o->out, common.force);
    const UndoOptions options{
        .force = common.force, .plan = common.plan, .command = command_json("undo", common)};
    const auto target = o->in_place ? std::nullopt : std::optional<fs::path>(o->out);
    const Json result = undo_model(o->model, o->ids, target, options);
    common.json ? print_json(result)
                : print_text(fmt::format("removed: {}\nremaining: {}\ntensors: {}\n",
                                         joined(result["removed"]), joined(result["remaining"]),
                                         joined(result["tensors"])));
    return 0;
  };
}

}  // namespace

extern const Command command_undo{
    .name = "undo",
    .group = "Surgery",
    .summary = "Take edits out of a model again, bit for bit",
    .examples = "  lancet undo edited/ -o original/\n  lancet undo edited/ --edit fact7 --in-place",
    .declare = declare};

}  // namespace lancet
