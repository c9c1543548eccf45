#include "formats/replaceable.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/adapter/peft.h"
#include "formats/chat_templates.h"
#include "formats/checkpoint.h"
#include "formats/model_source.h"

namespace lancet {
namespace {

constexpr std::string_view kWeights[] = {"model", "pytorch_model", "consolidated"};
constexpr std::string_view kAdapterWeights = "adapter_model";
constexpr std::string_view kCards[] = {"README.md",
                                       ".gitattributes",
                                       "lancet.json",
                                       "mergekit_config.yml",
                                       "mergekit_moe_config.yml",
                                       "quantize_config.json",
                                       "hf_quant_config.json",
                                       "video_preprocessor_config.json"};
/// Code and licences as published checkpoints name them.
constexpr std::string_view kBeginnings[] = {"LICENSE", "USE_POLICY", "configuration_", "modeling_",
                                            "tokenization_"};

/// "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json".
bool is_weights(std::string_view name, std::string_view stem) {
  if (!name.starts_with(stem)) return false;
  name.remove_prefix(stem.size());
  if (name.empty() || (name[0] != '.' && name[0] != '-')) return false;
  return name.ends_with(".safetensors") || name.ends_with(".bin") || name.ends_with(".pth") ||
         name.ends_with(".index.json");
}

bool is_model_weights(std::string_view name) {
  return std::ranges::any_of(kWeights, [&](auto stem) { return is_weights(name, stem); });
}

bool is_usual(std::string_view name, DirectoryKind kind) {
  const bool weights = kind == DirectoryKind::kModel
                           ? is_model_weights(name)
                           : name == "adapter_config.json" || is_weights(name, kAdapterWeights);
  return weights || is_side_file(name) || std::ranges::find(kCards, name) != std::end(kCards) ||
         std::ranges::any_of(kBeginnings, [&](auto begin) { return name.starts_with(begin); });
}

/// A folder with chat templates alone.
bool holds_templates(const fs::path& folder) {
  std::error_code error;
  bool all = folder.filename() == kTemplateFolder && !fs::is_symlink(folder, error);
  for (fs::directory_iterator it(folder, error), end; all && !error && it != end;
       it.increment(error)) {
    all = !it->is_directory(error) && it->path().extension() == ".jinja";
  }
  return all && !error;
}

/// What the lancet.json of `out` lists; nothing where it is none of ours.
std::set<std::string> listed_outputs(const fs::path& out) {
  std::set<std::string> names;
  try {
    const Json manifest = read_json(out / "lancet.json");
    for (const Json& output : manifest.at("outputs")) names.insert(output.at("file"));
  } catch (const std::exception&) {
    names.clear();
  }
  return names;
}

/// True where `path`, links followed, is `target` or lies in it.
bool is_within(const fs::path& path, const fs::path& target) {
  std::error_code error;
  const fs::path own = fs::canonical(path, error);
  return !error && std::ranges::mismatch(target, own).in1 == target.end();
}

/// True where `path`, or a file that a directory of this name links to, is `target` or within it.
bool lies_in(const fs::path& path, const fs::path& target) {
  if (is_within(path, target)) return true;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_symlink(ignored) && is_within(it->path(), target)) return true;
  }
  return false;
}

bool names_weights(const fs::path& path) {
  const std::string name = path.filename().string();
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{".safetensors", ".gguf", ".bin", ".index.json"},
      [&](auto ending) { return name.ends_with(ending); });
}

/// The files of weights that are read where `path` is named; none where it names no weights.
std::vector<fs::path> weights_of(const fs::path& path) {
  std::vector<fs::path> out;
  try {
    if (is_adapter(path)) return {adapter_weights(path)};
    const auto checkpoint = Checkpoint::open(path);
    for (const MappedFile& file : checkpoint->files()) out.push_back(file.path());
  } catch (const Error&) {
    out.clear();  // neither a model nor an adapter
  }
  return out;
}

/// True where `target`, a file that is there, is read when `path` is: a file of the model or the
/// adapter that `path` is, or of the model whose weights it is; any file in another directory.
bool belongs_to(const fs::path& path, const fs::path& target) {
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  if (!fs::is_regular_file(target, error) || (!directory && !names_weights(path))) return false;
  const fs::path folder = fs::canonical(directory ? path : fs::absolute(path).parent_path(), error);
  if (error || !is_within(target, folder)) return false;
  const std::vector<fs::path> weights = weights_of(path);
  if (weights.empty()) return directory;
  const auto is_target = [&](const fs::path& file) { return fs::equivalent(file, target, error); };
  if (std::ranges::any_of(weights, is_target)) return true;
  if (target.parent_path() != folder) return false;
  const std::string name = target.filename().string();
  if (is_side_file(name)) return true;
  return directory && (name == "adapter_config.json" || listed_outputs(folder).contains(name) ||
                       std::ranges::find(kCards, name) != std::end(kCards));
}

bool is_single_file(const fs::path& out, OutputKind kind) {
  const fs::path ending = (out.has_filename() ? out : out.parent_path()).extension();
  return kind == OutputKind::kFile ||
         (kind == OutputKind::kModel && (ending == ".gguf" || ending == ".safetensors"));
}

}  // namespace

void check_replaceable(const fs::path& out, DirectoryKind kind) {
  std::error_code error;
  if (!fs::is_directory(out, error) || fs::is_empty(out, error)) return;
  const std::set<std::string> listed = listed_outputs(out);
  bool holds = kind == DirectoryKind::kAdapter && is_adapter(out);
  std::string strange;
  for (fs::directory_iterator it(out, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    const bool folder = it->is_directory(ignored);
    holds = holds || (kind == DirectoryKind::kModel && !folder && is_model_weights(name));
    const bool known =
        folder ? holds_templates(it->path()) : is_usual(name, kind) || listed.contains(name);
    if (!known) strange = strange.empty() ? name : std::min(strange, name);
  }
  const std::string_view what = kind == DirectoryKind::kModel ? "model" : "adapter";
  const std::string shown = printable(out.string(), 400);
  if (!holds || error)
    fail(ErrorKind::kUsage, "write",
         fmt::format("'{}' exists and holds no {}: it is not replaced", shown, what),
         "choose another name, or remove it yourself");
  if (!strange.empty())
    fail(ErrorKind::kUsage, "write",
         fmt::format("'{}' holds '{}', which is no part of a{} {}: it is not replaced", shown,
                     printable(strange, 400), kind == DirectoryKind::kModel ? "" : "n", what),
         "move it away, choose another name, or remove the directory yourself");
}

void check_not_input(std::string_view operation, const fs::path& out,
                     const std::vector<fs::path>& inputs) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(out, error);  // "new/../model" is found as well
  if (error || !fs::exists(target, error)) return;
  for (const fs::path& input : inputs) {
    const ModelPath parts = split_model_path(input);
    for (const fs::path& part : {parts.model, parts.adapter}) {
      if (part.empty() || (!lies_in(part, target) && !belongs_to(part, target))) continue;
      fail(
          ErrorKind::kUsage, operation,
          fmt::format("'{}' is read as an input: it is not replaced", printable(out.string(), 400)),
          "choose another name for the output");
    }
  }
}

void check_place(std::string_view operation, const fs::path& out, OutputKind kind,
                 const std::vector<fs::path>& inputs, Replace replace) {
  check_not_input(operation, out, inputs);
  std::error_code ignored;
  if (is_single_file(out, kind) && fs::is_directory(out, ignored))
    fail(ErrorKind::kUsage, operation,
         fmt::format("expected the name of a file, found the directory '{}'",
                     printable(out.string(), 400)),
         "name a file in it, or another one");
  check_output(operation, out, replace != Replace::kNo);
  if (replace == Replace::kForced && kind != OutputKind::kFile)
    check_replaceable(out,
                      kind == OutputKind::kModel ? DirectoryKind::kModel : DirectoryKind::kAdapter);
}

void check_folder(std::string_view operation, const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_directory(folder, ignored) || !fs::exists(fs::symlink_status(folder, ignored))) return;
  fail(ErrorKind::kUsage, operation,
       fmt::format("expected the name of a folder, found '{}', which is none",
                   printable(folder.string(), 400)),
       "choose another name");
}

}  // namespace lancet
