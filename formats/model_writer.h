#pragma once
// Writes a model in the form its name asks for: *.gguf, *.safetensors, else a Hugging Face
// directory (shards + index). Streams tensor by tensor in bounded memory; atomic.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "formats/containers/safetensors.h"
#include "formats/model_source.h"

namespace lancet {

class OutputJournal;

struct WriteOptions {
  std::uint64_t shard_size = 5'000'000'000;
  bool force = false;
  bool quantize_q8_0 = false;  ///< GGUF only: matrices to Q8_0 where rows fill whole blocks
  std::optional<DType> dtype;  ///< a dtype the person asked for: config.json is made to say it
  Json manifest;  ///< merged into lancet.json beside the output (command, inputs, seed, ...)
  /// Of this output, where a rerun shall go on: finished weight files, and tensors of large ones,
  /// that it holds are taken over. Its identity decides the tensors and all options above but
  /// `force` and `manifest`. Not with `extra`.
  OutputJournal* journal = nullptr;
};

struct WrittenFile {
  fs::path path;
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// Tensors carry Hugging Face names and order; side files as ModelSource::side_files(). For *.gguf
/// the names, the Q/K permutation, tokenizer and hyper-parameters are written as llama.cpp reads
/// them. Extra safetensors files to stand in the directory (delta, undo) go in `extra` (file name
/// -> writer). Returns the files with sizes and hashes, as written into lancet.json.
std::vector<WrittenFile> write_model(
    const fs::path& out, std::vector<OutputTensor> tensors,
    const std::map<std::string, std::string>& side_files, const WriteOptions& options,
    const std::map<std::string, std::function<void(const fs::path&)>>& extra = {});

/// Writes lancet.json: version, the words of the command line, `fields`, the files under "outputs",
/// seconds since the program began (unless `fields` says others) and its peak memory in bytes.
void write_manifest(const fs::path& path, const Json& fields,
                    const std::vector<WrittenFile>& files);
/// Of MODEL or MODEL+ADAPTER, for "inputs": {"path", "files": [{"file", "bytes", "sha256"}],
/// "adapter"?: input_adapter()}. Reads the weights whole.
[[nodiscard]] Json input_model(const fs::path& model);
/// {"path", "file", "bytes", "sha256"}: an adapter's weights.
[[nodiscard]] Json input_adapter(const fs::path& adapter);
/// {"path", "bytes", "sha256"}.
[[nodiscard]] Json input_file(const fs::path& file);
/// Meets a full disk before the work: kResource unless the file system of `out` has room for
/// `bytes`.
void check_space(const fs::path& out, std::uint64_t bytes);

/// The tensor of `source` as an OutputTensor in `dtype` (nothing = kept; quantised types become F32
/// unless `dtype` says otherwise; integers are never changed): raw bytes when nothing changes, else
/// decoded in blocks of bounded size. `source` must outlive the result.
[[nodiscard]] OutputTensor copy_tensor(const ModelSource& source, const TensorInfo& tensor,
                                       std::optional<DType> dtype);

}  // namespace lancet
