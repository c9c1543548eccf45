#include "cli/stage_state.h"

#include <sys/stat.h>

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "formats/model_source.h"

namespace lancet {
namespace {

/// Files of an input, sorted: of a folder those directly in it, but for what tools write beside.
std::vector<fs::path> files_of(const fs::path& input) {
  if (fs::is_regular_file(input)) return {input};
  std::vector<fs::path> out;
  if (fs::is_directory(input)) {
    for (const auto& entry : fs::directory_iterator(input)) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  const ModelPath split = split_model_path(input);
  if (split.adapter.empty())
    fail(ErrorKind::kInput, "distill",
         fmt::format("'{}' does not exist", printable(input.string())));
  for (const fs::path& part : {split.model, split.adapter}) {
    const auto files = files_of(part);
    out.insert(out.end(), files.begin(), files.end());
  }
  return out;
}

}  // namespace

StageState::StageState(const fs::path& folder) : path_(folder / "distill.json") {
  state_ = {{"stages", Json::object()}, {"files", Json::object()}};
  if (!fs::exists(path_)) return;
  Json read = read_json(path_);
  const auto is_object = [&](const char* name) {
    return read.is_object() && read.contains(name) && read[name].is_object();
  };
  if (!is_object("stages") || !is_object("files"))
    fail(ErrorKind::kInput, "distill",
         fmt::format("{}: damaged: expected 'stages' and 'files'", printable(path_.string())),
         "remove it: every stage is then done again");
  state_ = std::move(read);
}

std::string StageState::hash(const fs::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return sha256_file(file);  // which tells what is wrong
  const std::int64_t changed =
      static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  const Json stamp{{"bytes", info.st_size}, {"changed", changed}};
  Json& known = state_["files"][file.string()];
  if (known.is_object() && known.value("bytes", Json()) == stamp["bytes"] &&
      known.value("changed", Json()) == stamp["changed"] && known.contains("sha256"))
    return known["sha256"].get<std::string>();
  known = stamp;
  known["sha256"] = sha256_file(file);
  return known["sha256"].get<std::string>();
}

Json StageState::hashes(const std::vector<fs::path>& inputs) {
  Json out = Json::array();
  for (const fs::path& input : inputs) {
    for (const fs::path& file : files_of(input))
      out.push_back({file.filename().string(), hash(file)});
  }
  return out;
}

std::string StageState::stale(const std::string& stage, const std::string& key) {
  const Json& stages = state_["stages"];
  if (!stages.contains(stage)) return "not done yet";
  const Json& known = stages[stage];
  if (known.value("key", "") != key) return "settings or inputs have changed";
  if (!known.value("done", false)) return "was stopped";
  for (const Json& output : known["outputs"]) {
    const fs::path path = output["path"].get<std::string>();
    if (!fs::exists(path)) return "'" + path.string() + "' is gone";
    if (hash(path) != output["sha256"]) return "'" + path.string() + "' has changed";
  }
  return {};
}

bool StageState::was_begun(const std::string& stage, const std::string& key) const {
  const Json& stages = state_["stages"];
  return stages.contains(stage) && stages[stage].value("key", "") == key &&
         !stages[stage].value("done", false);
}

void StageState::begin(const std::string& stage, const std::string& key) {
  state_["stages"][stage] = {{"key", key}, {"done", false}};
  save();
}

void StageState::finish(const std::string& stage, const std::vector<fs::path>& outputs,
                        const Json& result, double seconds) {
  Json& known = state_["stages"][stage];
  known["done"] = true;
  known["seconds"] = seconds;
  known["result"] = result;
  known["outputs"] = Json::array();
  for (const fs::path& path : outputs)
    known["outputs"].push_back({{"path", path.string()}, {"sha256", hash(path)}});
  save();
}

Json StageState::result(const std::string& stage) const {
  const Json& stages = state_["stages"];
  return stages.contains(stage) ? stages[stage].value("result", Json()) : Json();
}

void StageState::save() const {
  fs::create_directories(path_.parent_path());
  write_file(path_, dump_json(state_, 2) + "\n");
}

}  // namespace lancet
