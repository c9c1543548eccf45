#include "surgery/files/lora.h"

#include <map>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "formats/containers/safetensors.h"

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

OutputTensor output_f32(std::string name, std::vector<std::int64_t> shape,
                        std::vector<float> values) {
  return {std::move(name), DType::kF32, std::move(shape),
          [values = std::move(values)](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
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

void save_lora(const fs::path& directory, const Delta& delta, const std::string& base, bool force) {
  check_output("lora", directory, force);
  std::vector<OutputTensor> tensors;
  std::set<std::string> modules;
  Json ranks = Json::object();
  std::int64_t largest = 1;
  bool conv1d = false;
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const DeltaTensor& factors = delta.tensors[i];
    const LedgerTensor& info = delta.ledger.tensors[i];
    if (factors.rank == 0) continue;
    const std::string module = module_of(factors.name);
    modules.insert(module);
    ranks[module] = factors.rank;
    largest = std::max(largest, factors.rank);
    conv1d = conv1d || info.layout == MatrixLayout::kInOut;
    tensors.push_back(output_f32("base_model.model." + module + ".lora_A.weight",
                                 {factors.rank, info.d_in},
                                 transposed(factors.right, info.d_in, factors.rank)));
    tensors.push_back(output_f32("base_model.model." + module + ".lora_B.weight",
                                 {info.d_out, factors.rank}, factors.left));
  }
  // alpha follows each module's rank, so that every scale is 1.
  const Json config{{"peft_type", "LORA"},
                    {"task_type", "CAUSAL_LM"},
                    {"base_model_name_or_path", base},
                    {"r", largest},
                    {"lora_alpha", largest},
                    {"lora_dropout", 0.0},
                    {"bias", "none"},
                    {"fan_in_fan_out", conv1d},
                    {"inference_mode", true},
                    {"init_lora_weights", true},
                    {"use_rslora", false},
                    {"use_dora", false},
                    {"target_modules", modules},
                    {"rank_pattern", ranks},
                    {"alpha_pattern", ranks},
                    {"modules_to_save", nullptr}};
  AtomicDirectory out(directory);
  write_file(out.path() / "adapter_config.json", dump_json(config, 2) + "\n");
  save_safetensors(out.path() / "adapter_model.safetensors", std::move(tensors),
                   {{"format", "pt"}});
  out.commit(force);
}

}  // namespace lancet
