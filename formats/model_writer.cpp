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
#include "formats/containers/tensor_file.h"
#include "formats/gguf_model.h"
#include "formats/output_journal.h"
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

/// `name` in `directory`: of a journal, as much as it does not have yet.
WrittenFile write_weight_file(const fs::path& directory, const std::string& name,
                              const TensorFile& file, OutputJournal* journal, Progress& progress) {
  const auto result = [&](const fs::path& path, std::string hash) {
    return WrittenFile{path, file.total, std::move(hash)};
  };
  if (journal == nullptr) return result(directory / name, save_tensor_file(directory / name, file));
  const std::uint64_t before = journal->resumed();
  WrittenFile out = journal->make(name, [&](const fs::path& path) {
    std::uint64_t resumed = 0;
    std::string hash = resume_tensor_file(path, file, resumed);
    journal->add_resumed(resumed);
    return result(path, std::move(hash));
  });
  progress.advance(journal->resumed() - before);
  return out;
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
                   const WriteOptions& options, Progress& progress,
                   std::vector<WrittenFile>& files) {
  const std::uint64_t total = total_bytes(tensors);
  auto shards = split_shards(std::move(tensors), options.shard_size);
  const auto write = [&](const std::string& name, std::vector<OutputTensor>& shard) {
    files.push_back(write_weight_file(directory, name,
                                      lay_out_safetensors(std::move(shard), kTorchMetadata),
                                      options.journal, progress));
  };
  if (shards.size() == 1) return write("model.safetensors", shards[0]);
  std::map<std::string, std::string> index;
  for (std::size_t k = 0; k < shards.size(); ++k) {
    const std::string name = shard_name(k, shards.size());
    for (const OutputTensor& tensor : shards[k]) index.emplace(tensor.name, name);
    write(name, shards[k]);
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
                                         const WriteOptions& options, const Extra& extra,
                                         Progress& progress) {
  check_replaceable(out);
  std::optional<AtomicDirectory> fresh;
  if (options.journal == nullptr) fresh.emplace(out);
  const fs::path directory = fresh ? fresh->path() : options.journal->path();
  std::vector<WrittenFile> files;
  write_weights(directory, std::move(tensors), options, progress, files);
  for (const auto& [name, text] : side_files) {
    const bool config = name == "config.json" && options.dtype.has_value();
    fs::create_directories((directory / name).parent_path());
    files.push_back(write_text(directory / name, config ? with_dtype(text, *options.dtype) : text));
  }
  for (const auto& [name, write] : extra) {
    write(directory / name);
    files.push_back(hashed(directory / name));
  }
  write_manifest(directory / "lancet.json", options.manifest, files);
  if (fresh) {
    fresh->commit(options.force);
  } else {
    options.journal->close();
    options.journal->commit(options.force);
  }
  for (WrittenFile& file : files) file.path = out / file.path.lexically_relative(directory);
  return files;
}

fs::path beside(const fs::path& out, const std::string& name) { return out.string() + "." + name; }

/// One weight file with its extra files and manifest beside it; what an error leaves half-done is
/// removed.
std::vector<WrittenFile> write_single(const fs::path& out, const Extra& extra,
                                      const WriteOptions& options, const TensorFile& main,
                                      Progress& progress) {
  std::vector<WrittenFile> files(1);
  const std::string name = out.filename().string();
  if (options.journal != nullptr) {
    files[0] = write_weight_file({}, name, main, options.journal, progress);
    files[0].path = out;
    // First: the model never stands without it.
    write_manifest(beside(out, "lancet.json"), options.manifest, files);
    options.journal->commit_file(name);
    return files;
  }
  try {
    for (const auto& [ending, write] : extra) {
      check_output(kOperation, beside(out, ending), options.force);
      write(beside(out, ending));
      files.push_back(hashed(beside(out, ending)));
    }
    files[0] = write_weight_file(out.parent_path(), name, main, nullptr, progress);
    write_manifest(beside(out, "lancet.json"), options.manifest, files);
  } catch (...) {
    std::error_code ignored;
    for (const WrittenFile& file : files) fs::remove(file.path, ignored);
    throw;
  }
  return files;
}

/// check_space() for what is not there yet.
void check_space_left(const fs::path& out, std::uint64_t bytes, const OutputJournal* journal) {
  const std::uint64_t held = journal == nullptr ? 0 : journal->held_bytes();
  check_space(out, bytes - std::min(bytes, held));
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
    GgufModel model = make_gguf_model(std::move(tensors), side_files, options.quantize_q8_0);
    check_space_left(path, total_bytes(model.tensors), options.journal);
    files = write_single(path, extra, options,
                         lay_out_gguf(path, model.metadata, std::move(model.tensors)), progress);
  } else {
    check_space_left(path, total_bytes(tensors), options.journal);
    if (path.extension() == ".safetensors") {
      files = write_single(path, extra, options,
                           lay_out_safetensors(std::move(tensors), kTorchMetadata), progress);
    } else {
      files = write_directory(path, std::move(tensors), side_files, options, extra, progress);
    }
  }
  progress.finish();
  return files;
}

}  // namespace lancet
