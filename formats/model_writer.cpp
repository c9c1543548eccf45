#include "formats/model_writer.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/memory.h"
#include "core/process.h"
#include "core/progress.h"
#include "core/text.h"
#include "formats/adapter/peft.h"
#include "formats/config/hf_config.h"
#include "formats/containers/sharded.h"
#include "formats/gguf_model.h"
#include "formats/replaceable.h"
#include "version.h"

namespace lancet {
namespace {

using Extra = std::map<std::string, std::function<void(const fs::path&)>>;

constexpr std::string_view kOperation = "write";
const std::map<std::string, std::string> kTorchMetadata = {{"format", "pt"}};

std::uint64_t bytes_of(const OutputTensor& tensor) {
  TensorInfo info;
  info.shape = tensor.shape;
  return dtype_bytes(tensor.dtype, info.elements()).value_or(0);
}

std::uint64_t total_bytes(const std::vector<OutputTensor>& tensors) {
  std::uint64_t total = 0;
  for (const OutputTensor& tensor : tensors) total += bytes_of(tensor);
  return total;
}

}  // namespace

void check_space(const fs::path& out, std::uint64_t bytes) {
  std::error_code error;
  fs::path parent = fs::absolute(out).parent_path();
  while (!fs::exists(parent, error) && parent.has_relative_path()) parent = parent.parent_path();
  const fs::space_info space = fs::space(parent, error);
  if (error || space.available >= bytes) return;
  fail(ErrorKind::kResource, kOperation,
       fmt::format("expected {} free for '{}', found {}", human_bytes(bytes),
                   printable(out.string(), 400), human_bytes(space.available)),
       "free some space or choose another disk");
}

namespace {

/// Adds a progress count to every tensor, and a place where Ctrl-C is met.
void watch(std::vector<OutputTensor>& tensors, Progress& progress) {
  for (OutputTensor& tensor : tensors) {
    tensor.write = [write = std::move(tensor.write),
                    &progress](const std::function<void(Bytes)>& emit) {
      write([&](Bytes bytes) {
        check_interrupted();
        emit(bytes);
        progress.advance(bytes.size());
      });
    };
  }
}

WrittenFile hashed(const fs::path& path) { return {path, fs::file_size(path), sha256_file(path)}; }

WrittenFile write_text(const fs::path& path, const std::string& text) {
  write_file(path, text);
  return {path, text.size(), sha256_hex(text)};
}

WrittenFile write_safetensors(const fs::path& path, std::vector<OutputTensor> tensors) {
  std::string hash = save_safetensors(path, std::move(tensors), kTorchMetadata);
  return {path, fs::file_size(path), std::move(hash)};
}

}  // namespace

void write_manifest(const fs::path& path, const Json& fields,
                    const std::vector<WrittenFile>& files) {
  Json manifest;
  manifest["lancet"] = LANCET_VERSION;
  manifest["commit"] = LANCET_COMMIT;
  if (!arguments().empty()) manifest["arguments"] = arguments();
  if (fields.is_object()) manifest.update(fields);
  if (!manifest.contains("seconds")) manifest["seconds"] = process_seconds();
  manifest["peak_memory"] = peak_memory();
  manifest["outputs"] = Json::array();
  for (const WrittenFile& file : files) {
    const fs::path name = file.path.lexically_relative(path.parent_path());
    manifest["outputs"].push_back(
        Json{{"file", name.string()}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  write_file(path, dump_json(manifest, 2) + "\n");
}

Json input_model(const fs::path& model) {
  const ModelPath path = split_model_path(model);
  Json out{{"path", model.string()}, {"files", Json::array()}};
  const auto checkpoint = Checkpoint::open(path.model);
  for (const auto& file : checkpoint->files()) {
    out["files"].push_back({{"file", file.path().filename().string()},
                            {"bytes", file.size()},
                            {"sha256", sha256_file(file.path())}});
  }
  if (!path.adapter.empty()) out["adapter"] = input_adapter(path.adapter);
  return out;
}

Json input_adapter(const fs::path& adapter) {
  const fs::path weights = adapter_weights(adapter);
  return {{"path", adapter.string()},
          {"file", weights.filename().string()},
          {"bytes", fs::file_size(weights)},
          {"sha256", sha256_file(weights)}};
}

Json input_file(const fs::path& file) {
  return {{"path", file.string()}, {"bytes", fs::file_size(file)}, {"sha256", sha256_file(file)}};
}

namespace {

/// Runs of the tensors, each at most `limit` bytes unless a single tensor is larger.
std::vector<std::vector<OutputTensor>> split_shards(std::vector<OutputTensor> tensors,
                                                    std::uint64_t limit) {
  std::vector<std::vector<OutputTensor>> shards(1);
  std::uint64_t size = 0;
  for (OutputTensor& tensor : tensors) {
    const std::uint64_t bytes = bytes_of(tensor);
    if (!shards.back().empty() && bytes > limit - std::min(limit, size)) {
      shards.emplace_back();
      size = 0;
    }
    size += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

void write_weights(const fs::path& directory, std::vector<OutputTensor> tensors,
                   std::uint64_t shard_size, std::vector<WrittenFile>& files) {
  const std::uint64_t total = total_bytes(tensors);
  auto shards = split_shards(std::move(tensors), shard_size);
  if (shards.size() == 1) {
    files.push_back(write_safetensors(directory / "model.safetensors", std::move(shards[0])));
    return;
  }
  std::map<std::string, std::string> index;
  for (std::size_t k = 0; k < shards.size(); ++k) {
    const std::string name = shard_name(k, shards.size());
    for (const OutputTensor& tensor : shards[k]) index.emplace(tensor.name, name);
    files.push_back(write_safetensors(directory / name, std::move(shards[k])));
  }
  files.push_back(
      write_text(directory / "model.safetensors.index.json", shard_index_text(index, total)));
}

/// config.json that says `dtype` the way old and new versions of transformers read it.
std::string with_dtype(const std::string& text, DType dtype) {
  Json config = parse_hf_config(text, "config.json");
  const std::string name = dtype == DType::kBF16  ? "bfloat16"
                           : dtype == DType::kF16 ? "float16"
                           : dtype == DType::kF64 ? "float64"
                                                  : "float32";
  if (!config.is_object() ||
      (config.value("dtype", Json()) == name && config.value("torch_dtype", Json()) == name)) {
    return text;
  }
  config["dtype"] = config["torch_dtype"] = name;
  return dump_json(config, 2) + "\n";
}

std::vector<WrittenFile> write_directory(const fs::path& out, std::vector<OutputTensor> tensors,
                                         const std::map<std::string, std::string>& side_files,
                                         const WriteOptions& options, const Extra& extra) {
  check_replaceable(out);
  AtomicDirectory directory(out);
  std::vector<WrittenFile> files;
  write_weights(directory.path(), std::move(tensors), options.shard_size, files);
  for (const auto& [name, text] : side_files) {
    const bool config = name == "config.json" && options.dtype.has_value();
    fs::create_directories((directory.path() / name).parent_path());
    files.push_back(
        write_text(directory.path() / name, config ? with_dtype(text, *options.dtype) : text));
  }
  for (const auto& [name, write] : extra) {
    write(directory.path() / name);
    files.push_back(hashed(directory.path() / name));
  }
  write_manifest(directory.path() / "lancet.json", options.manifest, files);
  directory.commit(options.force);
  for (WrittenFile& file : files) file.path = out / file.path.lexically_relative(directory.path());
  return files;
}

fs::path beside(const fs::path& out, const std::string& name) { return out.string() + "." + name; }

/// One weight file with its extra files and manifest beside it; what an error leaves half-done is
/// removed.
std::vector<WrittenFile> write_single(const fs::path& out, const Extra& extra,
                                      const WriteOptions& options,
                                      const std::function<WrittenFile()>& write_main) {
  std::vector<WrittenFile> files(1);
  try {
    for (const auto& [name, write] : extra) {
      check_output(kOperation, beside(out, name), options.force);
      write(beside(out, name));
      files.push_back(hashed(beside(out, name)));
    }
    files[0] = write_main();
    write_manifest(beside(out, "lancet.json"), options.manifest, files);
  } catch (...) {
    std::error_code ignored;
    for (const WrittenFile& file : files) fs::remove(file.path, ignored);
    throw;
  }
  return files;
}

}  // namespace

std::vector<WrittenFile> write_model(const fs::path& out, std::vector<OutputTensor> tensors,
                                     const std::map<std::string, std::string>& side_files,
                                     const WriteOptions& options, const Extra& extra) {
  const fs::path path = out.has_filename() ? out : out.parent_path();
  check_output(kOperation, path, options.force);
  Progress progress("writing", total_bytes(tensors), Progress::Unit::kBytes);
  watch(tensors, progress);
  std::vector<WrittenFile> files;
  if (path.extension() == ".gguf") {
    const GgufModel model = make_gguf_model(std::move(tensors), side_files, options.quantize_q8_0);
    check_space(path, total_bytes(model.tensors));
    files = write_single(path, extra, options, [&] {
      std::string hash = save_gguf(path, model.metadata, model.tensors);
      return WrittenFile{path, fs::file_size(path), std::move(hash)};
    });
  } else {
    check_space(path, total_bytes(tensors));
    if (path.extension() == ".safetensors") {
      files = write_single(path, extra, options,
                           [&] { return write_safetensors(path, std::move(tensors)); });
    } else {
      files = write_directory(path, std::move(tensors), side_files, options, extra);
    }
  }
  progress.finish();
  return files;
}

}  // namespace lancet
