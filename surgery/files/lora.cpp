#include "surgery/files/lora.h"

#include <fmt/format.h>

#include "core/error.h"
#include "formats/adapter/peft_writer.h"

namespace lancet {
namespace {

/// "model.layers.3.mlp.down_proj.weight" -> "model.layers.3.mlp.down_proj".
std::string module_of(const std::string& tensor) {
  constexpr std::string_view kSuffix = ".weight";
  if (!tensor.ends_with(kSuffix)) {
    fail(ErrorKind::kMismatch, "lora",
         fmt::format("expected a '.weight' matrix, found '{}'", tensor));
  }
  return tensor.substr(0, tensor.size() - kSuffix.size());
}

std::vector<float> transposed(const std::vector<float>& values, std::int64_t rows,
                              std::int64_t columns) {
  std::vector<float> out(values.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      out[static_cast<std::size_t>(c * rows + r)] =
          values[static_cast<std::size_t>(r * columns + c)];
    }
  }
  return out;
}

}  // namespace

void save_lora(const fs::path& directory, const Delta& delta, const std::string& base, bool force,
               const Json& manifest) {
  AdapterFile file;
  file.base = base;
  file.manifest = manifest;
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const DeltaTensor& factors = delta.tensors[i];
    const LedgerTensor& info = delta.ledger.tensors[i];
    if (factors.rank == 0) continue;
    file.modules.push_back({module_of(factors.name),
                            info.layout == MatrixLayout::kInOut ? LoraModule::Kind::kTransposed
                                                                : LoraModule::Kind::kLinear,
                            factors.rank, info.d_in, info.d_out,
                            transposed(factors.right, info.d_in, factors.rank), factors.left});
  }
  save_adapter(directory, std::move(file), force);
}

}  // namespace lancet
