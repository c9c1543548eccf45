// lancet undo: take edits out of a model again, bit for bit.

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "merge/estimate.h"
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

std::string result_text(const Json& result, bool plan) {
  const bool anew = result["rewrites"] == true;
  std::string out = fmt::format(
      "{}: {}\n{}: {}{}\n{}: {}\n", plan ? "would remove" : "removed", joined(result["removed"]),
      plan ? "would remain" : "remaining", joined(result["remaining"]),
      !anew  ? ""
      : plan ? " (to be computed anew)"
             : " (computed anew)",
      plan ? "tensors that would change" : "tensors", joined(result["tensors"]));
  if (!plan) return out;
  return out + fmt::format("memory: {}\ntime: {}\n", about_bytes(result["peak_memory"]),
                           about_seconds(result["seconds"]));
}

/// Where edits were computed together with those that go, or on top of them, the engine computes
/// them again; else bytes and stored factors are enough.
Json undo(const UndoRequest& request, const CommonOptions& common) {
  const bool computes = !request.plan && !request.ids.empty() &&
                        fs::exists(delta_path(request.model)) &&
                        needs_rewrite(load_delta(delta_path(request.model)).ledger, request.ids);
  if (computes) return open_engine(common.runtime).undo(request, common.runtime);
  return undo_model(request.model, request.ids, request.out,
                    {request.force, request.plan, request.command, {}});
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
      fail(ErrorKind::kUsage, "undo", "expected -o OUT or --in-place, found neither",
           "-o OUT writes the model without the edits; --in-place replaces EDITED");
    const UndoRequest request{.model = o->model,
                              .ids = o->ids,
                              .out = o->in_place ? std::nullopt : std::optional<fs::path>(o->out),
                              .plan = common.plan,
                              .force = common.force,
                              .command = command_json("undo", common)};
    Json result = undo(request, common);
    if (common.plan)
      result["seconds"] =
          result["rewrites"] == true
              ? Json()
              : Json(writing_seconds(o->in_place ? o->model : o->out, result["bytes"]));
    common.json ? print_json(result) : print_text(result_text(result, common.plan));
    return 0;
  };
}

}  // namespace

extern const Command command_undo{
    .name = "undo",
    .group = "Surgery",
    .summary = "Take edits out of a model again: all bit for bit, one as if it had never been",
    .examples = "  lancet undo edited/ -o original/\n  lancet undo edited/ --edit fact7 --in-place",
    .runs_model = true,
    .dtype = "of edits that have to be computed anew; the model is written as it was stored",
    .declare = declare};

}  // namespace lancet
