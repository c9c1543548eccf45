#pragma once
// A PEFT LoRA adapter on disk: adapter_config.json and adapter_model.safetensors, or PyTorch's
// adapter_model.bin, read strictly.
// What an adapter could ask for and lancet does not do is kMismatch, never left out in silence.
//   W' = W + s B A       A [r, d_in], B [d_out, r];  s = alpha / r, or alpha / sqrt(r) with rslora
//   W' = W + s (B A)^T   with fan_in_fan_out (weights [d_in, d_out]), and for embeddings
//                        A [r, vocab], B [d, r]
//   W' = m W''/|W''|     with DoRA: W'' = W + s B A, norms of its rows, m [d_out]; of a matrix
//                        that lies the other way, and of embeddings, norms of its columns

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/checkpoint.h"

namespace lancet {

struct LoraModule {
  enum class Kind { kLinear, kTransposed, kEmbedding };
  std::string name;  ///< "model.layers.0.self_attn.q_proj"
  Kind kind = Kind::kLinear;
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* magnitude = nullptr;  ///< DoRA, else null
  std::int64_t rank = 0;
  double scale = 1;
};

/// A tensor that takes the base's place: modules_to_save, a trained bias, or the base's own matrix
/// beside the factors of embeddings or head.
struct SavedTensor {
  std::string name;  ///< "lm_head.weight"
  const TensorInfo* stored = nullptr;
  bool of_base = false;  ///< what the factors of a module are added to (".base_layer")
};

class Adapter {
 public:
  /// `path`: the directory. kInput for what is damaged or missing, kMismatch for kinds of adapters
  /// that are not done.
  [[nodiscard]] static std::shared_ptr<const Adapter> open(const fs::path& path);

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  [[nodiscard]] const Json& config() const noexcept { return config_; }
  /// Sorted by name.
  [[nodiscard]] const std::vector<LoraModule>& modules() const noexcept { return modules_; }
  [[nodiscard]] const std::vector<SavedTensor>& saved() const noexcept { return saved_; }
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  /// Values of one of the adapter's tensors.
  [[nodiscard]] std::vector<float> values(const TensorInfo& tensor) const;
  /// Reads all values: kNumeric naming the tensor and the element that is NaN or infinite.
  void check_finite() const;
  /// kMismatch naming a module that has factors and stands in modules_to_save too, which PEFT does
  /// not load.
  void check_lists() const;

 private:
  fs::path path_;
  Json config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<LoraModule> modules_;
  std::vector<SavedTensor> saved_;

  void check_config() const;
  void take(const TensorInfo& tensor);
  void finish(LoraModule& module) const;
  [[nodiscard]] LoraModule& module(const std::string& name, LoraModule::Kind kind);
};

/// The file of weights of an adapter's directory: adapter_model.safetensors where both or neither
/// are there.
[[nodiscard]] fs::path adapter_weights(const fs::path& directory);

/// True for a directory that holds an adapter_config.json.
[[nodiscard]] bool is_adapter(const fs::path& path);

}  // namespace lancet
