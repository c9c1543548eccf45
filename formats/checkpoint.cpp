#include "formats/checkpoint.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/nearby.h"
#include "core/text.h"
#include "formats/containers/safetensors.h"
#include "formats/containers/sharded.h"
#include "formats/containers/torch_zip.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "checkpoint";
constexpr std::uint64_t kMaxIndex = 256ULL << 20;
constexpr std::uint64_t kMaxSideFile = 256ULL << 20;
/// Weights of a directory, the first that is there.
constexpr std::array<std::string_view, 2> kSingleNames{"model.safetensors", "pytorch_model.bin"};
constexpr std::array<std::string_view, 2> kIndexNames{"model.safetensors.index.json",
                                                      "pytorch_model.bin.index.json"};

std::string shown(const fs::path& path) { return printable(path.string(), 400); }

[[noreturn]] void refuse(const fs::path& path, const std::string& message, std::string hint = {}) {
  fail(ErrorKind::kInput, kOperation, fmt::format("{}: {}", shown(path), message), std::move(hint));
}

bool is_gguf(Bytes file) noexcept {
  return file.size() >= 4 && load_le<std::uint32_t>(file.data()) == 0x46554747U;  // "GGUF"
}

bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

/// What a directory without safetensors is, as a hint for the person who named it.
std::string directory_hint(const fs::path& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name == "adapter_model.safetensors" || name == "adapter_model.bin")
      return "this is an adapter: name the base model it belongs to";
    if (name.ends_with(".gguf") || name.ends_with(".safetensors")) {
      return fmt::format("name the file itself: {}", shown(it->path()));
    }
  }
  return "a model is a directory with model.safetensors, a .safetensors or a .gguf file";
}

struct SplitName {
  std::string stem;    ///< before "-00001-of-00003.gguf"
  std::size_t number;  ///< 1-based
  std::size_t count;
};

/// "NAME-00001-of-00003.gguf" taken apart.
std::optional<SplitName> split_name(const std::string& name) {
  constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  const std::string tail = name.substr(name.size() - kPattern.size());
  for (std::size_t i = 0; i < tail.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    const bool wanted = i < 15 && kPattern[i] == 'd';
    if (wanted ? !digit : tail[i] != kPattern[i]) return std::nullopt;
  }
  return SplitName{name.substr(0, name.size() - kPattern.size()), std::stoul(tail.substr(1, 5)),
                   std::stoul(tail.substr(10, 5))};
}

/// Of a path that does not exist: MODEL+ADAPTER, whose parts stand in files of their own.
std::string hint_of_missing(const fs::path& path) {
  const std::string all = path.string();
  const std::size_t plus = all.rfind('+');
  std::error_code ignored;
  if (plus == std::string::npos || plus == 0 || !fs::exists(all.substr(0, plus), ignored))
    return nearby_hint(path) + "; models are read from this machine, none is downloaded";
  return "files are read by themselves here: name the model or the adapter of MODEL+ADAPTER";
}

}  // namespace

/// Builds a Checkpoint; the only writer of its members.
class CheckpointOpener {
 public:
  explicit CheckpointOpener(const fs::path& model) { checkpoint_.path_ = model; }

  std::shared_ptr<const Checkpoint> open() {
    std::error_code error;
    const fs::path path = checkpoint_.path_;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status))
      refuse(path, "expected a model, found no such file or directory", hint_of_missing(path));
    if (fs::is_directory(status)) {
      open_directory(path);
    } else if (path.extension() == ".json") {
      open_index(path.parent_path().empty() ? fs::path(".") : path.parent_path(), path);
    } else {
      open_file(path);
    }
    index_names();
    return std::make_shared<const Checkpoint>(std::move(checkpoint_));
  }

 private:
  Checkpoint checkpoint_;

  void open_directory(const fs::path& directory) {
    checkpoint_.form_ = CheckpointForm::kHuggingFace;
    for (std::size_t form = 0; form < kSingleNames.size(); ++form) {
      if (is_present(directory / kSingleNames[form]))
        return add_weights(resolve_in_directory(directory, kSingleNames[form]));
      if (is_present(directory / kIndexNames[form]))
        return open_index(directory, resolve_in_directory(directory, kIndexNames[form]));
    }
    refuse(directory,
           "expected model.safetensors or pytorch_model.bin or an index of one in the directory, "
           "found none",
           directory_hint(directory));
  }

  void open_index(const fs::path& directory, const fs::path& path) {
    checkpoint_.form_ = CheckpointForm::kHuggingFace;
    checkpoint_.path_ = directory;
    const ShardIndex index = parse_shard_index(read_file(path, kMaxIndex), shown(path));
    for (const std::string& shard : index.shards) {
      const fs::path file = resolve_in_directory(directory, shard);
      if (!is_present(file))
        refuse(path, fmt::format("expected the shard '{}', found no such file", printable(shard)));
      add_weights(file);
    }
    check_index(index, path);
  }

  /// Both directions: every mapped tensor is in its shard, every stored tensor is mapped to its
  /// shard.
  void check_index(const ShardIndex& index, const fs::path& path) {
    std::uint64_t total = 0;
    std::vector<const TensorInfo*> stored;
    for (const TensorInfo& tensor : checkpoint_.tensors_) {
      stored.push_back(&tensor);
      total += tensor.bytes;
    }
    std::ranges::sort(stored,
                      [](const TensorInfo* a, const TensorInfo* b) { return a->name < b->name; });
    refuse_twice(stored, path);
    auto have = stored.begin();
    for (const auto& [name, shard] : index.tensors) {
      if (have != stored.end() && (*have)->name < name) refuse_unmapped(**have, index, path);
      if (have == stored.end() || (*have)->name != name || (*have)->file != shard) {
        refuse(path,
               fmt::format("tensor '{}': expected it in shard '{}', found it {}", printable(name),
                           printable(index.shards[shard]),
                           have != stored.end() && (*have)->name == name
                               ? fmt::format("in '{}'", printable(index.shards[(*have)->file]))
                               : "nowhere"));
      }
      ++have;
    }
    if (have != stored.end()) refuse_unmapped(**have, index, path);
    if (index.total_size && *index.total_size != total) {
      log::warn(fmt::format("{}: total_size says {} bytes, the shards hold {}", shown(path),
                            *index.total_size, total));
    }
  }

  [[noreturn]] static void refuse_unmapped(const TensorInfo& tensor, const ShardIndex& index,
                                           const fs::path& path) {
    refuse(path, fmt::format("tensor '{}': expected it in weight_map, found it in shard '{}' only",
                             printable(tensor.name), printable(index.shards[tensor.file])));
  }

  void refuse_twice(const std::vector<const TensorInfo*>& sorted, const fs::path& path) const {
    const auto twice = std::ranges::adjacent_find(
        sorted, [](const TensorInfo* a, const TensorInfo* b) { return a->name == b->name; });
    if (twice == sorted.end()) return;
    refuse(path,
           fmt::format("tensor '{}': expected it in one file, found it in '{}' and '{}'",
                       printable((*twice)->name),
                       shown(checkpoint_.files_[(*twice)->file].path().filename()),
                       shown(checkpoint_.files_[(*std::next(twice))->file].path().filename())));
  }

  /// PyTorch's by its name.
  void add_weights(const fs::path& path) {
    if (path.extension() != ".bin") return add_safetensors(path);
    MappedFile file(path);
    checkpoint_.metadata_ = Json::object();
    std::vector<TensorInfo> tensors = parse_torch_zip(file.bytes(), shown(path));
    add(std::move(file), std::move(tensors));
  }

  void add_safetensors(const fs::path& path) {
    MappedFile file(path);
    SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), shown(path));
    if (checkpoint_.files_.empty()) checkpoint_.metadata_ = Json(header.metadata);
    add(std::move(file), std::move(header.tensors));
  }

  void add(MappedFile file, std::vector<TensorInfo> tensors) {
    const auto number = static_cast<std::uint32_t>(checkpoint_.files_.size());
    checkpoint_.files_.push_back(std::move(file));
    for (TensorInfo& tensor : tensors) {
      tensor.file = number;
      checkpoint_.tensors_.push_back(std::move(tensor));
    }
  }

  void open_file(const fs::path& path) {
    MappedFile file(path);
    if (is_gguf(file.bytes())) {
      open_gguf(std::move(file));
      return;
    }
    const bool object = file.size() > 8 && file.bytes()[8] == std::byte{'{'};
    const bool torch = path.extension() == ".bin" && !object;
    if (path.extension() != ".safetensors" && !torch && !object) {
      refuse(path, "expected a safetensors, GGUF or PyTorch .bin file, found another kind",
             "a model is a directory with model.safetensors, a .safetensors or a .gguf file");
    }
    checkpoint_.form_ = torch ? CheckpointForm::kPyTorch : CheckpointForm::kSafetensors;
    torch ? add_weights(path) : add_safetensors(path);
  }

  void open_gguf(MappedFile file) {
    checkpoint_.form_ = CheckpointForm::kGguf;
    checkpoint_.metadata_ = Json::object();
    const fs::path path = file.path();
    GgufHeader header = parse_gguf(file.bytes(), file.size(), shown(path));
    std::vector<TensorInfo> tensors = header.tensors;
    const std::int64_t count = header.integer("split.count", 1);
    checkpoint_.gguf_ = std::move(header);
    add(std::move(file), std::move(tensors));
    if (count > 1) add_splits(path, count);
  }

  void add_splits(const fs::path& first, std::int64_t count) {
    const auto name = split_name(first.filename().string());
    if (!name || name->number != 1 || static_cast<std::int64_t>(name->count) != count) {
      refuse(first,
             fmt::format("expected the first of {} split files, named ...-00001-of-{:05}.gguf",
                         count, count),
             "name the first file of the split");
    }
    for (std::size_t k = 2; k <= name->count; ++k) {
      const fs::path path =
          first.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name->stem, k, name->count);
      MappedFile file(path);
      GgufHeader header = parse_gguf(file.bytes(), file.size(), shown(path));
      if (header.integer("split.count", 0) != count ||
          header.integer("split.no", -1) != static_cast<std::int64_t>(k - 1)) {
        refuse(path, fmt::format("expected part {} of {} of a split", k, count));
      }
      add(std::move(file), std::move(header.tensors));
    }
    const std::int64_t tensors = checkpoint_.gguf_->integer("split.tensors.count", -1);
    if (tensors >= 0 && static_cast<std::size_t>(tensors) != checkpoint_.tensors_.size()) {
      refuse(first, fmt::format("expected {} tensors in the split, found {}", tensors,
                                checkpoint_.tensors_.size()));
    }
  }

  /// Sorting, not hashing: a file cannot choose names that make it slow.
  void index_names() {
    const auto& tensors = checkpoint_.tensors_;
    auto& order = checkpoint_.by_name_;
    order.resize(tensors.size());
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    const auto name = [&](std::uint32_t i) -> std::string_view { return tensors[i].name; };
    std::ranges::sort(order, {}, name);
    const auto twice = std::ranges::adjacent_find(order, {}, name);
    if (twice != order.end()) {
      refuse(checkpoint_.path_,
             fmt::format("tensor '{}': expected it once, found it twice", printable(name(*twice))));
    }
  }
};

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& model) {
  return CheckpointOpener(model).open();
}

const TensorInfo* Checkpoint::find(std::string_view name) const noexcept {
  const auto place = std::ranges::lower_bound(
      by_name_, name, {}, [&](std::uint32_t i) -> std::string_view { return tensors_[i].name; });
  return place == by_name_.end() || tensors_[*place].name != name ? nullptr : &tensors_[*place];
}

Bytes Checkpoint::data(const TensorInfo& tensor) const {
  if (tensor.file >= files_.size())
    fail(ErrorKind::kInternal, kOperation, "a tensor of another checkpoint");
  const MappedFile& file = files_[tensor.file];
  if (tensor.offset > file.size() || tensor.bytes > file.size() - tensor.offset) {
    fail(ErrorKind::kInternal, kOperation,
         fmt::format("tensor '{}' lies outside {}", printable(tensor.name), shown(file.path())));
  }
  return file.bytes().subspan(tensor.offset, tensor.bytes);
}

std::optional<std::string> Checkpoint::side_file(std::string_view name) const {
  if (form_ != CheckpointForm::kHuggingFace) return std::nullopt;
  return read_side_file(path_, name);
}

std::optional<std::string> read_side_file(const fs::path& directory, std::string_view name) {
  if (!is_present(directory / name)) return std::nullopt;
  const fs::path path = resolve_in_directory(directory, name);
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored))  // a named pipe would be waited for
    refuse(path, "expected a regular file, found another kind");
  return read_file(path, kMaxSideFile);
}

}  // namespace lancet
