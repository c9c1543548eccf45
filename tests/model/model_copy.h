#pragma once
// A stored tiny model written anew with something changed: other names, tensors more or fewer,
// other values, another config.

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

#include "core/json.h"
#include "formats/checkpoint.h"
#include "formats/containers/safetensors.h"

namespace lancet::test {

/// A folder of this process that goes when the object goes.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(fs::temp_directory_path() / ("lancet-" + name + "-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

struct StoredTensor {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

[[nodiscard]] inline StoredTensor zeros(std::vector<std::int64_t> shape) {
  std::size_t bytes = sizeof(float);
  for (const std::int64_t d : shape) bytes *= static_cast<std::size_t>(d);
  return {DType::kF32, std::move(shape), std::vector<std::byte>(bytes)};
}

/// Writes `from` into `to`, changed by `edit`.
inline void write_changed(const fs::path& from, const fs::path& to,
                          const std::function<void(StoredTensors&, Json&)>& edit) {
  const auto checkpoint = Checkpoint::open(from);
  StoredTensors tensors;
  for (const TensorInfo& info : checkpoint->tensors()) {
    const Bytes data = checkpoint->data(info);
    tensors[info.name] = {info.dtype, info.shape, {data.begin(), data.end()}};
  }
  Json config = read_json(from / "config.json");
  edit(tensors, config);
  fs::create_directories(to);
  write_file(to / "config.json", dump_json(config));
  std::vector<OutputTensor> out;
  for (const auto& entry : tensors) {
    out.push_back({entry.first, entry.second.dtype, entry.second.shape,
                   [&bytes = entry.second.bytes](const auto& emit) { emit(Bytes(bytes)); }});
  }
  save_safetensors(to / "model.safetensors", std::move(out), {{"format", "pt"}});
}

}  // namespace lancet::test
