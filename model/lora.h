#pragma once
// Trainable low-rank parts of linear layers (LoRA, arXiv:2106.09685):
//   y = x W^T + scale * (drop(x) A^T) B^T,  A [rank, d_in], B [d_out, rank], both float32.
// The base stays as it is. Names, targets, patterns and scales are PEFT's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "core/json.h"
#include "formats/adapter/peft.h"
#include "model/lora_settings.h"
#include "model/spec.h"

namespace lancet {

/// What all low-rank parts of one adapter obey; turned between passes, never during one.
struct LoraSwitch {
  bool enabled = true;     ///< false: the base alone
  std::int64_t draw = -1;  ///< which masks of dropout, at most 2^32 - 1; negative: no dropout
};

/// The low-rank part of one stored matrix, a LoRA on the stored module also where it holds several
/// (qkv, gate_up) or lies as [d_in, d_out].
struct LowRank {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  at::Tensor a;        ///< float32 [rank, d_in], a leaf of the graph
  at::Tensor b;        ///< float32 [d_out, rank], a leaf of the graph
  double scale = 1;
  double dropout = 0;      ///< of the input, in [0, 1)
  std::uint64_t seed = 0;  ///< of the masks, with `module` and the switch's draw
  std::shared_ptr<const LoraSwitch> state;

  [[nodiscard]] bool drops() const { return dropout > 0 && state->draw >= 0; }
};

/// Mask times 1 / (1 - p) for the current draw, float32 [rows, d_in]: element i of row r is element
/// r * d_in + i of the random stream, whatever the thread count.
[[nodiscard]] at::Tensor dropout_mask(const LowRank& part, std::int64_t rows);

/// A linear layer that can have a low-rank part.
struct LinearModule {
  std::string name;  ///< as the Decoder's weights are named, without ".weight"
  std::int64_t layer = 0;
  std::int64_t d_in = 0, d_out = 0;
  MatrixLayout layout = MatrixLayout::kOutIn;
  bool expert = false;  ///< one of routed experts
};
/// Those of the blocks, in the order of the pass. Stacked experts are no modules.
[[nodiscard]] std::vector<LinearModule> linear_modules(const DecoderSpec& spec);
/// What stands before every module's name in transformers but not in this checkpoint's names.
[[nodiscard]] std::string missing_prefix(const DecoderSpec& spec);

class LoraAdapter {
 public:
  /// New values. kUsage where a setting is out of range or a target, layer or pattern fits nothing.
  LoraAdapter(const DecoderSpec& spec, const LoraSettings& settings, std::uint64_t seed);
  /// The values, ranks and scales of an adapter on disk, to be trained on. kMismatch for what
  /// training cannot continue (DoRA, embeddings, whole tensors) and for modules that do not fit.
  /// `dropout` instead of the stored one.
  LoraAdapter(const DecoderSpec& spec, const Adapter& stored, std::optional<double> dropout,
              std::uint64_t seed);

  /// In the order of the pass.
  [[nodiscard]] const std::vector<std::shared_ptr<LowRank>>& parts() const noexcept {
    return parts_;
  }
  [[nodiscard]] LoraParts by_module() const;
  [[nodiscard]] LoraSwitch& state() const noexcept { return *state_; }
  /// Leaves of the graph: A and B of every part.
  [[nodiscard]] std::vector<at::Tensor> parameters() const;
  [[nodiscard]] std::int64_t parameter_count() const;
  /// What adapter_config.json says, without base_model_name_or_path.
  [[nodiscard]] const Json& config() const noexcept { return config_; }
  /// The module's name in an adapter: with the prefix that some checkpoints leave out.
  [[nodiscard]] std::string file_name(const LowRank& part) const { return prefix_ + part.module; }

 private:
  void add(const LinearModule& module, at::Tensor a, at::Tensor b, double scale);

  std::string prefix_;
  double dropout_ = 0;
  std::uint64_t seed_ = 0;
  std::vector<std::shared_ptr<LowRank>> parts_;
  std::shared_ptr<LoraSwitch> state_ = std::make_shared<LoraSwitch>();
  Json config_;
};

}  // namespace lancet
