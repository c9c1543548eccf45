// lancet verify: strict structural check of every file, and of the hashes in lancet.json where
// there is one; of adapters too.

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "formats/adapter/peft.h"
#include "formats/chat_templates.h"
#include "formats/model_source.h"

namespace lancet {
namespace {

struct Problem {
  ErrorKind kind;
  std::string text;
};

/// OUT/lancet.json of a directory, OUT.lancet.json beside a file.
fs::path manifest_path(const fs::path& model) {
  return fs::is_directory(model) ? model / "lancet.json"
                                 : fs::path(model.string() + ".lancet.json");
}

/// A manifest names files by their bare name: anything that leaves the folder is a problem of its
/// own.
bool is_bare_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void check_hashes(const fs::path& model, std::vector<Problem>& problems) {
  const fs::path manifest = manifest_path(model);
  if (!fs::exists(manifest)) {
    log::info(fmt::format("'{}': no lancet.json, so its structure alone was checked",
                          printable(model.string(), 400)));
    return;
  }
  const Json document = read_json(manifest);
  if (!document.is_object() || !document.contains("outputs") || !document["outputs"].is_array()) {
    problems.push_back(
        {ErrorKind::kInput, manifest.filename().string() + ": expected a list 'outputs'"});
    return;
  }
  const fs::path folder = fs::is_directory(model) ? model : model.parent_path();
  for (const auto& output : document["outputs"]) {
    check_interrupted();
    const std::string name = json_string(output, "file", "lancet.json");
    const std::string expected = json_string(output, "sha256", "lancet.json");
    if (!is_bare_name(name) && !template_name(name)) {
      problems.push_back(
          {ErrorKind::kInput, "lancet.json names a file outside the model: " + name});
    } else if (!fs::exists(folder / name)) {
      problems.push_back({ErrorKind::kInput, name + " is missing"});
    } else if (const auto found = sha256_file(folder / name); found != expected) {
      problems.push_back({ErrorKind::kGoal,
                          fmt::format("{}: expected SHA-256 {}, found {}", name, expected, found)});
    }
  }
}

/// An adapter's directory without a model in it.
bool is_bare_adapter(const fs::path& path) {
  return is_adapter(path) && !fs::exists(path / "config.json");
}

void check(const fs::path& model, std::vector<Problem>& problems) {
  if (is_bare_adapter(model)) {
    static_cast<void>(Adapter::open(model));
    return check_hashes(model, problems);
  }
  const auto source = ModelSource::open(model);
  if (!source.checkpoint().weights_alone()) static_cast<void>(source.config());
  const ModelPath path = split_model_path(model);
  check_hashes(path.model, problems);
  if (!path.adapter.empty()) check_hashes(path.adapter, problems);
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto model = std::make_shared<std::string>();
  app.add_option("MODEL", *model,
                 "Any readable model, or a PEFT adapter; of MODEL+ADAPTER also that they fit")
      ->required();
  return [model, &common] {
    std::vector<Problem> problems;
    try {
      check(*model, problems);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput) throw;
      problems.push_back({error.kind(), error.what()});
    }
    Json texts = Json::array();
    bool damaged = false;
    for (const auto& problem : problems) {
      texts.push_back(problem.text);
      damaged = damaged || problem.kind == ErrorKind::kInput;
    }
    if (common.json) {
      print_json({{"ok", problems.empty()}, {"problems", texts}});
    } else {
      for (const auto& problem : problems) print_text(problem.text + "\n");
      print_text(problems.empty() ? "ok\n" : fmt::format("{} problem(s)\n", problems.size()));
    }
    if (problems.empty()) return 0;
    return static_cast<int>(damaged ? ErrorKind::kInput : ErrorKind::kGoal);
  };
}

}  // namespace

extern const Command command_verify{
    .name = "verify",
    .group = "Checkpoints",
    .summary = "Strict structural check of every file, and of the hashes in lancet.json",
    .examples =
        "  lancet verify model/\n  lancet verify downloaded.gguf --json\n  lancet verify adapter/\n"
        "  lancet verify model/+adapter/",
    .declare = declare};

}  // namespace lancet
