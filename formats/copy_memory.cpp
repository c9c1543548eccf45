#include "formats/copy_memory.h"

#include <algorithm>

#include "core/stream_file.h"

namespace lancet {
namespace {

std::uint64_t text_bytes(const std::map<std::string, std::string>& side_files) {
  std::uint64_t bytes = 0;
  for (const auto& [name, text] : side_files) bytes += text.size();
  return bytes;
}

}  // namespace

std::uint64_t weight_bytes(const std::vector<OutputTensor>& tensors, bool quantized) {
  std::uint64_t bytes = 0;
  for (const OutputTensor& tensor : tensors) {
    std::uint64_t elements = 1;
    for (const auto d : tensor.shape) elements *= static_cast<std::uint64_t>(d);
    const bool blocks = quantized && tensor.shape.size() == 2 && tensor.shape[1] % 32 == 0;
    bytes += blocks ? elements / 32 * 34 : dtype_bytes(tensor.dtype, elements).value_or(0);
  }
  return bytes;
}

std::uint64_t beside_bytes(const fs::path& out,
                           const std::map<std::string, std::string>& side_files) {
  return out.extension() == ".safetensors" ? 0 : text_bytes(side_files);
}

std::uint64_t copying_memory(const fs::path& out, std::uint64_t weights,
                             const std::map<std::string, std::string>& side_files, bool recoded) {
  constexpr std::uint64_t kProgram = 32ULL << 20, kRecoding = 26ULL << 20;
  const std::uint64_t writer = weights >= StreamFile::kWorthwhile ? StreamFile::kMemory : 0;
  // A GGUF's vocabulary is held beside.
  const std::uint64_t vocabulary = out.extension() == ".gguf" ? 4 * text_bytes(side_files) : 0;
  return kProgram + writer + vocabulary + (recoded ? std::min(kRecoding, weights) : 0);
}

}  // namespace lancet
