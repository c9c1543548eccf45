#include "merge/input.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "core/text.h"
#include "formats/adapter/overlay.h"

namespace lancet {
namespace {

/// A checkpoint on disk.
class FileInput final : public MergeInput {
 public:
  FileInput(std::string text, const ModelPath& path)
      : MergeInput(std::move(text)),
        path_(path.model),
        adapter_(path.adapter),
        source_(ModelSource::open(path.model, path.adapter)) {
    if (source_.overlay() != nullptr) plain_ = ModelSource::open(path.model);
    for (const TensorInfo& tensor : source_.tensors())
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype});
    try {
      config_ = source_.config();
    } catch (const Error&) {
      config_ = nullptr;  // weights alone
    }
  }

  const std::vector<InputTensor>& tensors() const noexcept override { return tensors_; }
  std::unique_ptr<TensorReader> reader(const InputTensor& tensor) const override {
    const TensorInfo& stored = source_.at(tensor.name);
    return plain_ ? adapted_reader(source_, *plain_, stored, text())
                  : stored_reader(source_, stored, text());
  }
  const Json& config() const noexcept override { return config_; }
  std::map<std::string, std::string> side_files() const override {
    return config_.is_null() ? std::map<std::string, std::string>{} : source_.side_files();
  }
  std::optional<std::string> chat_template() const override { return source_.chat_template(); }
  Bytes raw(const InputTensor& tensor) const override {
    return source_.raw(source_.at(tensor.name));
  }

  Json identity() const override {
    Json files = Json::array();
    for (const MappedFile* file : all_files()) files.push_back(identity_of(*file));
    if (source_.overlay() != nullptr) {
      files.push_back(
          {{"file", "adapter_config.json"},
           {"config_sha256", sha256_hex(dump_json(source_.overlay()->adapter().config()))}});
    }
    return {{"model", text()}, {"files", files}};
  }

  void add_hashes(Json& identity) const override {
    std::vector<const MappedFile*> files = all_files();
    std::vector<std::string> hashes(files.size());
    parallel::for_each(files.size(),
                       [&](std::size_t i) { hashes[i] = sha256_file(files[i]->path()); });
    for (std::size_t i = 0; i < files.size(); ++i) identity["files"][i]["sha256"] = hashes[i];
  }

  std::vector<fs::path> files() const override {
    std::vector<fs::path> out;
    for (const MappedFile* file : all_files()) out.push_back(file->path());
    return out;
  }

  fs::path path() const override {
    return adapter_.empty() ? path_ : fs::path(path_.string() + "+" + adapter_.string());
  }

  std::string card() const override {
    const fs::path card = path_ / "README.md";
    std::error_code ignored;
    return fs::is_regular_file(card, ignored) ? read_file(card, 1U << 22) : std::string();
  }

 private:
  fs::path path_, adapter_;
  ModelSource source_;
  std::optional<ModelSource> plain_;  ///< without its adapter
  std::vector<InputTensor> tensors_;
  Json config_;

  /// Of the model, then of its adapter.
  std::vector<const MappedFile*> all_files() const {
    std::vector<const MappedFile*> out;
    for (const MappedFile& file : source_.checkpoint().files()) out.push_back(&file);
    if (source_.overlay() == nullptr) return out;
    for (const MappedFile& file : source_.overlay()->adapter().checkpoint().files())
      out.push_back(&file);
    return out;
  }

  static Json identity_of(const MappedFile& file) {
    struct stat info {};
    if (::stat(file.path().c_str(), &info) != 0) {
      fail(ErrorKind::kInput, "model",
           fmt::format("cannot read '{}'", printable(file.path().string(), 400)));
    }
    // The header holds every name, shape and offset; time and inode tell rewritten weights.
    const std::uint64_t head = std::min<std::uint64_t>(file.size(), 1U << 20);
    return {
        {"file", file.path().filename().string()},
        {"bytes", file.size()},
        {"modified_ns", std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec},
        {"head_sha256", sha256_hex(file.bytes().first(head))}};
  }
};

fs::path hub_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  if (fs::path cache = variable("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const fs::path home = variable("HF_HOME"); !home.empty()) return home / "hub";
  return variable("HOME") / ".cache" / "huggingface" / "hub";
}

/// owner/name[@revision] in the local cache of huggingface_hub, or an empty path.
fs::path in_hub_cache(const std::string& text) {
  const std::size_t at = text.find('@');
  std::string name = text.substr(0, at);
  if (std::ranges::count(name, '/') != 1 || name.find("..") != name.npos || name.front() == '/')
    return {};
  name.replace(name.find('/'), 1, "--");
  const fs::path repository = hub_cache() / ("models--" + name);
  const std::string revision = at == text.npos ? "main" : text.substr(at + 1);
  if (revision.empty() || revision.find("..") != revision.npos) return {};
  std::error_code ignored;
  const fs::path reference = repository / "refs" / revision;
  std::string commit = revision;
  if (fs::is_regular_file(reference, ignored)) {
    commit = read_file(reference, 4096);
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  }
  const fs::path snapshot = repository / "snapshots" / commit;
  return commit.find('/') == commit.npos && fs::is_directory(snapshot, ignored) ? snapshot
                                                                                : fs::path();
}

/// A path, or a copy in the local cache, or nothing.
fs::path locate(const std::string& name, const fs::path& directory) {
  const fs::path given = name;
  const fs::path path = given.is_absolute() ? given : directory / given;
  std::error_code ignored;
  return fs::exists(path, ignored) ? path : in_hub_cache(name);
}

fs::path find_part(const std::string& name, const fs::path& directory, std::string_view what,
                   std::string_view operation) {
  fs::path found = locate(name, directory);
  if (!found.empty()) return found;
  fail(ErrorKind::kInput, operation,
       fmt::format("expected the {} '{}', found neither '{}' nor a copy in '{}'", what,
                   printable(name, 400), printable((directory / name).string(), 400),
                   printable(hub_cache().string(), 400)),
       "relative paths are relative to the recipe; lancet reads local files only: download a model "
       "first");
}

/// "model+adapter" is taken apart at the last '+' before which a model stands.
ModelPath find_model(const RecipeModel& model, const fs::path& directory,
                     std::string_view operation) {
  const auto part = [&](const std::string& name, std::string_view what) {
    return find_part(name, directory, what, operation);
  };
  if (!model.adapter.empty()) return {part(model.model, "model"), part(model.adapter, "adapter")};
  if (fs::path found = locate(model.model, directory); !found.empty()) return {found, {}};
  for (std::size_t at = model.model.rfind('+'); at != std::string::npos && at > 0;
       at = model.model.rfind('+', at - 1)) {
    fs::path found = locate(model.model.substr(0, at), directory);
    if (!found.empty()) return {found, part(model.model.substr(at + 1), "adapter")};
  }
  return {part(model.model, "model"), {}};
}

}  // namespace

const InputTensor* MergeInput::find(std::string_view name) const noexcept {
  const auto& all = tensors();
  const auto place = std::ranges::lower_bound(
      all, name, {}, [](const InputTensor& t) -> std::string_view { return t.name; });
  return place == all.end() || place->name != name ? nullptr : &*place;
}

std::unique_ptr<MergeInput> open_input(const RecipeModel& model, const fs::path& directory,
                                       std::string_view operation) {
  return std::make_unique<FileInput>(model.text, find_model(model, directory, operation));
}

}  // namespace lancet
